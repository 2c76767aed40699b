"""Damaged folders of models: weights, in one file or in shards, config.json and generation_config.json.

A model comes from anywhere, so each number in it may lie about a size, an offset or a count.
"""
import json
import struct

import commands as c
import damage as d

WEIGHTS, CONFIG, GENERATION = 'model/model.safetensors', 'model/config.json', 'model/generation_config.json'
INDEX = 'sharded/model.safetensors.index.json'
NORM, HEAD, EMBEDDINGS = 'model.norm.weight', 'lm_head.weight', 'model.embed_tokens.weight'

LENGTHS = [0, 1, 7, 8, 9, 100, 1 << 31, (1 << 63) - 1, (1 << 64) - 1]
HEADERS = ['{', '[]', 'null', '{}', '3', d.nest(50000), d.nest(30000, '{"a":', '}', '1'),
           '{"__metadata__":{"format":3}}', ' ' * 2000]
FIELDS = {
    'shape': [[], [0], [64, 0], [1 << 62, 4], [1 << 32, 1 << 32], [-64], [64.0], ['64'], [65], [32], [32, 2],
              [1] * 5000 + [64], None, 64, [1 << 64]],
    'dtype': ['F8_E4M3', 'I8', 'U8', 'BOOL', 'F64', 'F32', 'x', None, 3, ''],
    'data_offsets': [[0, 1 << 62], [8, 0], [-8, 120], [0, 128], [0], [], None, [0.5, 128],
                     [1 << 63, (1 << 63) + 128], [0, 0], ['0', '128'], [0, 1, 2]],
}

WEIGHT_MAPS = [None, [], {}, 3, {'a': 1}, {'a': '../model/model.safetensors'}, {'a': '/etc/passwd'}, {'a': ''},
               {'a': '.'}, {'a': 'nowhere.safetensors'}, {NORM: '\u0000'}, {NORM: 'model.safetensors.index.json'},
               {NORM: 'x' * 10000}]

SIZES = ['hidden_size', 'num_attention_heads', 'num_key_value_heads', 'num_hidden_layers', 'vocab_size',
         'intermediate_size', 'max_position_embeddings', 'rms_norm_eps', 'rope_theta', 'head_dim']
OTHERS = ['model_type', 'architectures', 'tie_word_embeddings', 'hidden_act', 'rope_scaling', 'rope_parameters',
          'torch_dtype', 'dtype', 'eos_token_id', 'bos_token_id', 'sliding_window', 'attention_bias', 'mlp_bias',
          'layer_types', 'no_rope_layers', 'use_sliding_window', 'max_window_layers', 'pad_token_id',
          'quantization_config', 'initializer_range', 'attention_dropout']
OTHER_VALUES = [None, -1, 1 << 62, 'x', [], {}, True, 0.5, [1 << 40], ['\u0000']]
ROPES = [
    {'rope_type': 'llama3', 'factor': 0, 'low_freq_factor': 1, 'high_freq_factor': 1,
     'original_max_position_embeddings': 0},
    {'rope_type': 'linear', 'factor': -1},
    {'rope_type': 'linear', 'factor': 1e308},
    {'rope_type': 'dynamic'},
    {'type': 3},
    {'rope_type': 'llama3', 'factor': 'x'},
    {'rope_type': 'llama3'},
    {'rope_type': None, 'rope_theta': 1e-300},
]
TYPES = ['mistral', 'qwen2', 'qwen3', 'smollm3', 'gemma', 'gpt2', 'phi3', '../llama', '']


def add(suite):
    add_headers(suite)
    add_tensors(suite)
    add_shards(suite)
    add_config(suite)
    add_generation(suite)


def field(key, value):
    return lambda header, data: header[NORM].__setitem__(key, value)


def name_twice():
    header, data = d.read_tensors(WEIGHTS)
    again = json.dumps({NORM: header[NORM]})
    d.write_tensors(WEIGHTS, json.dumps(header)[:-1] + ',' + again[1:], data)


def add_headers(suite):
    def case(name, damage, commands=c.MODEL_USUAL):
        suite.case('safetensors', name, damage, commands)
    suite.any_file('safetensors', WEIGHTS, c.MODEL_USUAL, document=False)
    for length in LENGTHS:
        case(f'length {length}', d.at(WEIGHTS, 0, struct.pack('<Q', length)))
    for header in HEADERS:
        case(f'header {header[:12]}', d.set_header(WEIGHTS, header), c.MODEL_USUAL[:2])
    case('duplicate tensor', name_twice, c.MODEL)
    for key, values in FIELDS.items():
        for value in values:
            case(f'{key}={str(value)[:24]}', d.change_tensors(WEIGHTS, field(key, value)))


def without(name):
    def change(header, data):
        del header[name]
    return change


def zero_row_head(header, data):
    begin = header[HEAD]['data_offsets'][0]
    header[HEAD].update(shape=[0, 64], data_offsets=[begin, begin])


def half_nan(header, data):
    half, quarter = len(data) // 2, len(data) // 4
    return header, data[:half] + b'\xff\x7f' * quarter + data[half + quarter * 2:]


def add_tensors(suite):
    def case(name, change, commands=c.MODEL_USUAL):
        suite.case('safetensors', name, d.change_tensors(WEIGHTS, change), commands)
    case('no norm', without(NORM), c.MODEL)
    case('no head', without(HEAD))
    case('extra tensor', lambda h, data: h.update(zzz=dict(h[NORM])))
    case('name of bytes', lambda h, data: h.update({'\u0000\n\x1b[2J' * 200: h.pop(NORM)}))
    case('zero-row head', zero_row_head, c.MODEL)
    case('overlap', lambda h, data: h[HEAD].update(data_offsets=h[EMBEDDINGS]['data_offsets']))
    case('q transposed', lambda h, data: h['model.layers.0.self_attn.k_proj.weight'].update(shape=[64, 32]), c.MODEL)
    case('nan', half_nan, c.MODEL)
    case('inf', lambda h, data: (h, data[:5000] + b'\x80\x7f' * 8 + data[5016:]), c.MODEL)
    case('huge', lambda h, data: (h, data[:5000] + b'\x7f\x7f' * 800 + data[6600:]), c.MODEL)
    case('data short', lambda h, data: (h, data[:-1]), c.MODEL)
    case('data long', lambda h, data: (h, data + b'x' * 64))
    case('layer 99', lambda h, data: h.update(
        {'model.layers.99.mlp.up_proj.weight': dict(h['model.layers.1.mlp.up_proj.weight'])}))


def all_in_the_first(index):
    index['weight_map'] = dict.fromkeys(index['weight_map'], 'model-00001-of-00002.safetensors')


def one_less(index):
    del index['weight_map'][NORM]


def add_shards(suite):
    shard = 'sharded/model-00002-of-00002.safetensors'
    everything = c.of_model('sharded')
    usual = everything[:4]

    def case(name, damage, commands=usual):
        suite.case('sharded', name, damage, commands)
    suite.any_file('sharded', INDEX, usual)
    for value in WEIGHT_MAPS:
        case(f'weight_map={str(value)[:40]}', d.set_key(INDEX, ['weight_map'], value))
    case('one entry missing', d.change_json(INDEX, one_less))
    case('in the other shard', d.change_json(INDEX, all_in_the_first))
    case('duplicate key', d.replace(INDEX, b'"weight_map"', b'"weight_map": {}, "weight_map"'))
    case('shard gone', d.gone(shard), everything)
    case('shard is folder', d.folder(shard))
    case('shard links to index', d.link(shard, 'model.safetensors.index.json'))
    case('shard link outside', d.both(d.move(shard, 'elsewhere'), d.link(shard, '../elsewhere')))
    case('shard cut', d.cut(shard, -100), everything)
    for value in (-1, 'x', 1 << 70, None):
        case(f'total_size={value}', d.set_key(INDEX, ['metadata', 'total_size'], value))


def add_config(suite):
    def case(name, damage, commands=c.MODEL_USUAL):
        suite.case('config', name, damage, commands)
    suite.any_file('config', CONFIG, c.MODEL[:8])
    suite.values('config', CONFIG, SIZES, c.MODEL_USUAL)
    suite.values('config', CONFIG, OTHERS, c.MODEL_USUAL[:3], OTHER_VALUES)
    for rope in ROPES:
        case(f'rope {str(rope)[:50]}', d.set_key(CONFIG, ['rope_scaling'], rope), c.MODEL_USUAL[:3])
    for name in TYPES:
        case(f'type {name}', d.set_key(CONFIG, ['model_type'], name))
    case('duplicate', d.replace(CONFIG, b'"hidden_size"', b'"hidden_size": 128, "hidden_size"'))
    case('eos list', d.set_key(CONFIG, ['eos_token_id'], [-1, 1 << 40, 'x']), c.MODEL[:8])


def add_generation(suite):
    info, generate, train, chat = c.MODEL[0], c.MODEL[1], c.MODEL[2], c.MODEL[4]
    suite.any_file('generation', GENERATION, [generate, info, chat, train])
    keys = ['eos_token_id', 'temperature', 'top_p', 'do_sample', 'max_new_tokens']
    suite.values('generation', GENERATION, keys, [generate])
    for value in ([1 << 40], ['a'], [[2]], [None], [2.5], (1 << 32) + 2):
        suite.case('generation', f'eos {value}', d.set_key(GENERATION, ['eos_token_id'], value), [generate])
