"""Damaged tokenizers: vocabularies, merges, regular expressions, normalisers that grow, and the files beside them."""
import commands as c
import damage as d

TOKENIZER, CONFIG = 'model/tokenizer.json', 'model/tokenizer_config.json'

PARTS = ['added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model', ('model', 'vocab'),
         ('model', 'merges'), ('model', 'type'), ('model', 'unk_token'), ('model', 'byte_fallback'),
         ('model', 'continuing_subword_prefix'), ('model', 'dropout'), 'truncation', 'padding']
ENTRIES = [('added_tokens', 0, 'id'), ('added_tokens', 0, 'content'), ('model', 'vocab', 'a'),
           ('added_tokens', 2, 'special')]
REGEXES = ['(a+)+$', '(', '(?<name', '\\p{Zz}', '.*' * 200, '(?R)', '(?:(?:(?:a*)*)*)*b', '', '(' * 5000, '\\K',
           '(?C1)', '(?=a)', '$^', 'x{65535}{65535}']
CONFIG_KEYS = ['chat_template', 'eos_token', 'bos_token', 'added_tokens_decoder', 'model_max_length', 'add_bos_token']


def add(suite):
    suite.any_file('tokenizer', TOKENIZER, c.TOKENIZER)
    suite.values('tokenizer', TOKENIZER, PARTS, c.TOKENIZER[:2])
    suite.values('tokenizer', TOKENIZER, ENTRIES, c.TOKENIZER[:2])
    add_vocabularies(suite)
    add_normalizers(suite)
    add_models(suite)
    suite.any_file('tokenizer', CONFIG, c.TOKENIZER[:3])
    suite.values('tokenizer', CONFIG, CONFIG_KEYS, c.TOKENIZER[:2])
    suite.any_file('tokenizer', 'model/special_tokens_map.json', c.TOKENIZER[1:3])


def words(**ids):
    return lambda tokenizer: tokenizer['model']['vocab'].update(ids)


def model(**fields):
    return lambda tokenizer: tokenizer['model'].update(fields)


def same_ids(tokenizer):
    vocabulary = tokenizer['model']['vocab']
    vocabulary.update(dict.fromkeys(list(vocabulary)[:50], 5))


def empty_added_token(tokenizer):
    added = tokenizer['added_tokens']
    added.append(dict(added[0], content='', id=300))


def add_vocabularies(suite):
    def case(name, change, commands=c.TOKENIZER):
        suite.case('tokenizer', name, d.change_json(TOKENIZER, change), commands)
    case('same ids', same_ids)
    case('id 2^31', words(zz=(1 << 31) - 1))
    case('id far', words(zz=100000000))
    case('ids above vocab_size', words(he=5000))
    case('merge unknown', model(merges=['q zz']))
    case('merge of 1', model(merges=['q']))
    case('merge triple', model(merges=[['a', 'b', 'c']]), c.TOKENIZER[:2])
    case('empty added', empty_added_token)
    case('vocab empty', model(vocab={}, merges=[]))


def nested(count):
    value = {'type': 'NFC'}
    for _ in range(count):
        value = {'type': 'Sequence', 'normalizers': [value]}
    return value


def sequence(step, count):
    return {'type': 'Sequence', 'normalizers': [step] * count}


def add_normalizers(suite):
    def case(name, value, commands=c.TOKENIZER[:2], key='normalizer'):
        suite.case('tokenizer', name, d.set_key(TOKENIZER, [key], value), commands)
    long_text = c.commands('tokenize --model model --text ' + 'a' * 3000)
    for regex in REGEXES:
        pattern = {'Regex': regex}
        split = {'type': 'Split', 'pattern': pattern, 'behavior': 'Isolated', 'invert': False}
        case(f'regex {regex[:20]}', split, c.TOKENIZER[:2] + long_text, 'pre_tokenizer')
        replace = {'type': 'Replace', 'pattern': pattern, 'content': 'aaaaaaaaaa' * 100}
        case(f'norm {regex[:20]}', replace, c.TOKENIZER[:1])
    case('nested sequence', None, c.TOKENIZER[:1])
    case('deep normalizer', nested(900))
    doubled = {'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'aa'}
    case('growing normalizer', sequence(doubled, 40),
         c.TOKENIZER[:2] + c.commands('tokenize --model model --text aaaa'))
    case('prepend grows', sequence({'type': 'Prepend', 'prepend': 'b' * 1000}, 1000))
    case('precompiled', {'type': 'Precompiled', 'precompiled_charsmap': 'AAAA' * 100})
    case('precompiled bad', {'type': 'Precompiled', 'precompiled_charsmap': '/////w=='})


def add_models(suite):
    def case(name, value, commands=c.TOKENIZER[:3], keys=('model',)):
        suite.case('tokenizer', name, d.set_key(TOKENIZER, keys, value), commands)
    for name in ('Unigram', 'WordPiece', 'WordLevel', 'Nope'):
        case(f'type {name}', name, keys=('model', 'type'))
    scores = [['<unk>', 0.0], ['a', float('-inf')], ['b', 1e308], ['', -1], ['aa', -1e308]]
    case('unigram', {'type': 'Unigram', 'unk_id': 0, 'vocab': scores})
    for unknown in (-1, 99, 1 << 40, None, 'x'):
        value = {'type': 'Unigram', 'unk_id': unknown, 'vocab': [['<unk>', 0.0], ['a', -1.0]]}
        case(f'unigram unk {unknown}', value, c.TOKENIZER[:2])
    case('wordpiece', {'type': 'WordPiece', 'unk_token': 'nope', 'vocab': {'a': 0}, 'max_input_chars_per_word': -1,
                       'continuing_subword_prefix': ''})
