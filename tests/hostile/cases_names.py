"""Hostile arguments: names of models, paths that are written to, and token ids.

No path here is one under the system's own folders of devices and processes: a command that replaced a file there would
harm the machine.
"""
import os

import commands as c
import damage as d

IDS = ['[[]]', '[[1.5]]', '[[-1]]', '[[320]]', '[[1e308]]', '[["a"]]', '[1,2]', '{"a":[1]}', '[[9223372036854775808]]',
       '[[1],null]', '[[[1]]]', '[' + ','.join(['[1]'] * 20000) + ']', '[[' + ','.join(['1'] * 20000) + ']]']
FILES = ['""', '.', 'model', 'model/config.json', 'nowhere/x.safetensors', 'ids.json', 'model/model.safetensors',
         '"x\ny.safetensors"', 'x' * 300, '/']
OUTPUTS = ['""', '.', 'model', 'model/config.json', 'nowhere/x/y', 'rows.jsonl', 'run', 'x' * 300, '"a\tb"',
           'rows.jsonl/x']
NAMES = ['org/name', '../model', 'org/../../model', './nope', 'a/b/c', '/etc/passwd', '/', '~', 'model/config.json',
         'model/', 'model/.', 'rows.jsonl', '""', 'x' * 5000, '"a b/c"', 'org/..', '../..', 'llama-2-7b',
         'org/name:rev', 'https://huggingface.co/x/y']


def hub_points_out():
    """A hub's cache in which the model org/name leads out of the cache."""
    refs = d.HUB + '/hub/models--org--name/refs'
    os.makedirs(refs, exist_ok=True)
    d.write(refs + '/main', '../../../../w/model')


def add(suite):
    suite.any_file('ids', 'ids.json', c.IDS)
    for ids in IDS:
        suite.case('ids', ids[:30], d.text('ids.json', ids), c.IDS)
    for path in FILES:
        text = f'logits --model model --input_ids ids.json --output {path}'
        suite.case('ids', f'output {path[:20]}', d.nothing, c.commands(text))
    for path in OUTPUTS:
        suite.case('outputs', path[:20], d.nothing, c.writing_to(path))
    for name in NAMES:
        suite.case('names', name[:30], hub_points_out, c.naming(name))
