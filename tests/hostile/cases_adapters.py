"""Damaged results of a training: adapters, bases in 4 and 8 bits, and checkpoints."""
import json
import os

import commands as c
import damage as d

CONFIG, WEIGHTS = 'run/adapter_config.json', 'run/adapter_model.safetensors'
CHECKPOINT = 'run/checkpoint-4'
NAN, INFINITE, HUGE, MINUS_1 = b'\0\0\xc0\x7f', b'\0\0\x80\x7f', b'\xff\xff\x7f\x7f', b'\0\0\x80\xbf'

CONFIG_KEYS = ['r', 'lora_alpha', 'target_modules', 'lora_dropout', 'modules_to_save', 'rank_pattern', 'alpha_pattern',
               'layers_to_transform', 'bias', 'use_dora', 'use_rslora', 'trainable_token_indices', 'fan_in_fan_out',
               'init_lora_weights', 'peft_type', 'exclude_modules', 'base_model_name_or_path', 'layers_pattern']
CONFIG_VALUES = [None, -1, 0, 1 << 62, 1e308, 'x', [], {}, True, [1, 2], {'q_proj': -1}, {'(': 2}, {'a': 1 << 62},
                 '(a+)+$', [1 << 40], ['../x'], '(' * 2000]
QUANTISATION_KEYS = ['load_in_4bit', 'load_in_8bit', 'quant_method', 'bnb_4bit_quant_type', 'bnb_4bit_use_double_quant',
                     'llm_int8_skip_modules', 'bnb_4bit_quant_storage', 'bnb_4bit_compute_dtype']


def add(suite):
    add_adapters(suite)
    for base in ('nf4', 'int8', 'fp4'):
        add_quantised(suite, base)
    add_checkpoint_documents(suite)
    add_checkpoint_tensors(suite)
    add_checkpoint_states(suite)
    add_checkpoint_folders(suite)


def one_less(header, data):
    del header[sorted(header)[1]]


def clear(header, data):
    header.clear()


def for_each(edit, word=''):
    """Edits each tensor whose name has the word in it."""
    def change(header, data):
        for name, tensor in header.items():
            if word in name and 'shape' in tensor:
                tensor.update(edit(tensor))
    return change


def turned(tensor):
    return {'shape': tensor['shape'][::-1]}


def as_integers(tensor):
    return {'dtype': 'I32'}


def add_adapters(suite):
    def case(name, damage):
        suite.case('adapter', name, damage, c.ADAPTER)

    def weights(name, change):
        case(f'weights {name}', d.change_tensors(WEIGHTS, change))
    suite.any_file('adapter', CONFIG, c.ADAPTER[:6])
    suite.any_file('adapter', WEIGHTS, c.ADAPTER, document=False)
    suite.values('adapter', CONFIG, CONFIG_KEYS, c.ADAPTER[:3] + c.ADAPTER[5:6], CONFIG_VALUES)
    weights('of another shape', for_each(lambda tensor: {'shape': [8, 65]}, 'lora_A'))
    weights('turned', for_each(turned, 'lora'))
    case('weights nan', d.fill_tensors(WEIGHTS, NAN))
    case('weights inf', d.fill_tensors(WEIGHTS, INFINITE))
    case('weights huge', d.fill_tensors(WEIGHTS, HUGE))
    weights('one less', one_less)
    weights('none', clear)
    weights('one more', lambda h, data: h.update({'extra.lora_A.weight': dict(h[sorted(h)[1]])}))
    weights('integers', for_each(as_integers, 'lora'))
    case('run.json of other base', d.set_key('run/run.json', ['model', 'head_sha256'], 'x'))
    for record in ('null', '[]', '3', '{}', '{"model":3}', '{"model":{"head_sha256":[]}}', ''):
        case(f'run.json {record}', d.text('run/run.json', record))
    case('adapter is file', d.both(d.gone('run'), d.text('run', b'x')))
    case('adapter is model', d.both(d.gone('run'), d.copy_folder('model', 'run')))


def fill(name, byte):
    def change(header, data):
        begin, end = header[name]['data_offsets']
        return header, data[:begin] + byte * (end - begin) + data[end:]
    return change


def set_field(name, key, value):
    return lambda header, data: header[name].__setitem__(key, value)


def set_bytes(name, content):
    """The tensor's bytes, moved to the end of the file."""
    def change(header, data):
        header[name].update(shape=[len(content)], data_offsets=[len(data), len(data) + len(content)])
        return header, data + content
    return change


def add_quantised(suite, base):
    path, config = base + '/model.safetensors', base + '/config.json'
    usual = c.of_model(base)[:4]
    more = usual + c.commands(
        f'eval --model {base} --data rows.jsonl',
        f'merge --model {base} --adapter run --output out --any_base',
        f'quantize --model {base} --output out')

    def case(name, change, commands):
        suite.case('quantised', name, d.change_tensors(path, change), commands)
    header, data = d.read_tensors(os.path.join(suite.base, path))
    names = sorted(name for name in header if 'layers.0.mlp.up_proj' in name)
    for name in names:
        short = f'{base} {name[-30:]}'
        case(f'{name} gone', lambda h, data, name=name: h.pop(name) and None, more)
        for value in ([], [0], [1 << 62, 4], [1], [3, 3]):
            case(f'{short} shape={value}', set_field(name, 'shape', value), usual)
        for value in ('F32', 'U8', 'I8', 'BF16', 'F16', 'I64'):
            case(f'{short} dtype={value}', set_field(name, 'dtype', value), usual)
        for byte in (b'\x00', b'\xff', b'\x7f'):
            case(f'{short} bytes {byte}', fill(name, byte), more)
    for name in names:
        if 'quant_state' not in name:
            continue
        begin, end = header[name]['data_offsets']
        state = json.loads(data[begin:end])
        for key in state:
            for value in (None, -1, 0, 1 << 62, 'x', [], 1e308, [1 << 40, 1 << 40], 3):
                content = json.dumps({**state, key: value}).encode()
                case(f'{base} state {key}={value}', set_bytes(name, content), usual)
        for content in (b'', b'{', b'null', b'[]', d.nest(20000).encode(), b'{"quant_type":"nf4"}', b'{"a":1,"a":2}'):
            case(f'{base} state = {content[:20]}', set_bytes(name, content), usual[:3])
    keys = [('quantization_config', key) for key in QUANTISATION_KEYS]
    suite.values('quantised', config, keys, usual[:3], [None, -1, 'x', [], True, False, {}, ['x']])
    suite.case('quantised', f'{base} no quantization_config', d.delete_key(config, ['quantization_config']),
               c.of_model(base))


def checkpoint(suite, name, damage, commands=c.CHECKPOINT, seal=True):
    """Damage to the last checkpoint, the other being gone; sealed, so that it is not refused for its hash alone."""
    after = d.reseal(CHECKPOINT) if seal else d.nothing
    suite.case('checkpoint', name, d.both(d.gone('run/checkpoint-2'), damage, after), commands)


def add_checkpoint_documents(suite):
    for file in ('attune_state.json', 'trainer_state.json', 'adapter_config.json'):
        path = f'{CHECKPOINT}/{file}'
        commands = c.CHECKPOINT if file == 'adapter_config.json' else c.CHECKPOINT[:2]
        for content in ('', 'null', '[]', '{}', '3', d.nest(30000), '{"a":1,"a":2}', '{"state":{}}',
                        '{"state":3,"fingerprint":4}', '\ufeff{}'):
            checkpoint(suite, f'{file} {content[:20]}', d.text(path, content), commands)
        checkpoint(suite, f'{file} gone', d.gone(path), seal=False)
        checkpoint(suite, f'{file} folder', d.folder(path), seal=False)
        checkpoint(suite, f'{file} cut', d.cut(path, -5), seal=False)


def add_checkpoint_tensors(suite):
    for file in ('optimizer.safetensors', 'adapter_model.safetensors'):
        path = f'{CHECKPOINT}/{file}'
        checkpoint(suite, f'{file} cut', d.cut(path, -4))
        checkpoint(suite, f'{file} empty', d.text(path, b''))
        checkpoint(suite, f'{file} gone', d.gone(path))
        checkpoint(suite, f'{file} 8', d.cut(path, 8))
        checkpoint(suite, f'{file} link', d.link(path, file), seal=False)
        for name, four_bytes in (('nan', NAN), ('-1', MINUS_1), ('inf', INFINITE), ('huge', HUGE)):
            checkpoint(suite, f'{file} {name}', d.fill_tensors(path, four_bytes))
        for name, change in (('one less', one_less), ('shapes', for_each(turned)), ('dtype', for_each(as_integers)),
                             ('no header', clear)):
            checkpoint(suite, f'{file} {name}', d.change_tensors(path, change))


def add_checkpoint_states(suite):
    path = f'{CHECKPOINT}/attune_state.json'
    for keys in d.leaves(json.loads(d.read(os.path.join(suite.base, path)))):
        if not keys or (keys[0] == 'fingerprint' and len(keys) > 2):
            continue
        commands = c.CHECKPOINT[:2] if keys[0] == 'fingerprint' else c.CHECKPOINT[:1]
        for value in (None, -1, 1 << 62, 1e308, 'x', [], {}, [1, 2], 0.5):
            checkpoint(suite, f'state {".".join(keys)}={value}', d.set_key(path, keys, value), commands)


def add_checkpoint_folders(suite):
    def case(name, damage, commands=c.CHECKPOINT):
        checkpoint(suite, name, damage, commands, seal=False)
    manifest, resume = f'{CHECKPOINT}/manifest.json', c.CHECKPOINT[:1]
    for key in ('version', 'hash', 'files'):
        for value in (None, -1, 99, 'x', [], {}, [3], [{}], [{'path': 3}],
                      [{'path': '../../rows.jsonl', 'bytes': 1, 'xxh3_128': 'x'}], [{'path': '/etc/passwd'}]):
            case(f'manifest {key}={str(value)[:30]}', d.set_key(manifest, [key], value))
    for content in ('', 'null', d.nest(30000), '{'):
        case(f'manifest {content[:9]}', d.text(manifest, content))
    case('state link loop', d.link(f'{CHECKPOINT}/attune_state.json', 'attune_state.json'))
    case('checkpoint is link', d.both(d.move(CHECKPOINT, 'elsewhere'), d.link(CHECKPOINT, '../elsewhere')))
    case('checkpoint number huge', d.rename(CHECKPOINT, 'run/checkpoint-99999999999999999999999'), resume)
    case('checkpoint of other name', d.rename(CHECKPOINT, 'run/checkpoint-3'), resume)
    case('checkpoint is file', d.both(d.gone(CHECKPOINT), d.text(CHECKPOINT, b'x')), resume)
    row = {'messages': [{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}]}
    case('rows changed', d.text('rows.jsonl', (json.dumps(row) + '\n') * 3))
    case('rows gone', d.gone('rows.jsonl'))
    case('model gone', d.gone('model'))
