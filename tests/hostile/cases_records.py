"""Damaged records that the program keeps for itself: runs and their store, prompts, scores, signatures, manifests of
data, sweeps, ladders of `advise`, and what it measured of the machine."""
import json
import os
import shutil

import commands as c
import damage as d

LADDER = 'ladder/ladder.json'

METRICS = [
    '{"step": 1e308, "loss": 1}',
    '{"step": -5, "loss": 3}',
    '{"step": 9223372036854775807, "loss": 1}',
    '{"step": 1, "loss": "x"}',
    '{"step": 1, "loss": 1e308}\n{"step": 2, "loss": -1e308}',
    '{"step": 1, "loss": null}',
    '{"loss": [1]}',
    'NaN',
    '{"step": 1, "loss": NaN}',
    '{"step":3,"time":1e300,"loss":2}',
    '{"step": 0.5}',
    '{"' + 'k' * 100000 + '": 1, "step": 1}',
    '{"step":1,"loss":1,"eval_loss":{}}',
]
PROMPT_VALUES = [
    None, -1, 'x', [], {}, [[]], [[{}]], [[{'role': 'x', 'content': 'y'}]], [[{'role': 'user', 'content': 3}]],
    {'data': 'rows.jsonl', 'shots': 1 << 62}, {'data': 'rows.jsonl', 'shots': 0}, {'data': 'nowhere', 'shots': 2},
    {'data': 'rows.jsonl', 'shots': 1, 'vectors': 'rows.jsonl'}, {'data': 'model', 'shots': 1},
    {'data': '', 'shots': 1}, 'y' * 100000,
]
GRIDS = ['r=', 'r=2,2', '=2', 'r', 'nope=1', 'r=x', 'learning_rate=nan,1', 'r=2 --grid r=4',
         'learning_rate=' + ','.join(['1'] * 20000), 'output_dir=a,b', 'data=a,b', 'method=lora,full', 'r=-1,0',
         'r=99999999999999999999,1']


def add(suite):
    add_runs(suite)
    add_store(suite)
    suite.any_file('prompts', 'prompt.json', c.PROMPT)
    suite.values('prompts', 'prompt.json', ['system', 'examples', 'similar', 'made_by'], c.PROMPT, PROMPT_VALUES)
    add_scores(suite)
    add_signatures(suite)
    add_manifests(suite)
    add_sweeps(suite)
    add_machine(suite)
    add_ladders(suite)


def paths_of(suite, file):
    return [keys for keys in d.leaves(json.loads(d.read(os.path.join(suite.base, file)))) if keys]


def add_runs(suite):
    def case(name, damage, commands):
        suite.case('runs', name, damage, commands)
    suite.any_file('runs', 'run/run.json', c.RUNS)
    suite.any_file('runs', 'run/metrics.jsonl', c.RUNS[:7])
    suite.any_file('runs', 'run/samples.jsonl', c.RUNS[:3])
    for keys in paths_of(suite, 'run/run.json'):
        for value in (None, -1, 1e308, 'x\n\x1b[2J<script>', [], {}, [1, 2], 1 << 62):
            name = f'run.json {".".join(keys)}={str(value)[:9]}'
            case(name, d.set_key('run/run.json', keys, value), c.RUNS[:2] + c.RUNS[7:8])
    for line in METRICS:
        case(f'metrics {line[:40]}', d.text('run/metrics.jsonl', line + '\n'), c.RUNS)


def store_is_folder():
    if os.path.isfile(d.STORE):
        os.remove(d.STORE)
    os.makedirs(d.STORE, exist_ok=True)


def store_is_back():
    if os.path.isdir(d.STORE):
        shutil.rmtree(d.STORE)


def add_store(suite):
    """The store lies beside the copies and outlives them, so the last of these cases takes the damage away."""
    def case(name, damage, *texts):
        suite.case('runs', name, damage, c.commands(*texts))
    case('store is text', d.text(d.STORE, b'x' * 5000), 'runs list', 'runs show run', c.train())
    case('store cut', d.text(d.STORE, b'SQLite format 3\0' + b'\xff' * 90), 'runs list', 'runs show abcd', c.train())
    case('store is folder', store_is_folder, 'runs list', 'runs show abcd')
    case('store back', store_is_back, 'runs list')


def second_line(path, key, value):
    def act():
        lines = d.read_text(path).splitlines()
        lines[1] = json.dumps({**json.loads(lines[1]), key: value})
        d.write(path, '\n'.join(lines) + '\n')
    return act


def add_scores(suite):
    suite.any_file('scores', 'scores.jsonl', c.SCORES)
    for key in ('row', 'answer_tokens', 'loss', 'loss_alone', 'line', 'ifd'):
        for value in (None, -1, 1e308, 'x', [], 1 << 62, 0, float('nan')):
            suite.case('scores', f'{key}={value}', second_line('scores.jsonl', key, value), c.SCORES)


def add_signatures(suite):
    def case(name, damage):
        suite.case('scores', f'signatures {name}', damage, c.SIGNATURES)
    suite.any_file('scores', 's1.signatures', c.SIGNATURES, document=False)
    for offset in range(0, 96, 4):
        for four_bytes in (b'\xff\xff\xff\xff', b'\0\0\0\0', b'\0\0\0\x40'):
            case(f'{offset} {four_bytes}', d.at('s1.signatures', offset, four_bytes))
    for length in (1, 8, 16, 40, 100):
        case(f'cut {length}', d.cut('s1.signatures', length))
    case('twice', lambda: shutil.copy('s1.signatures', 's2.signatures'))


def add_manifests(suite):
    path = 'clean.manifest.json'
    suite.any_file('scores', path, c.MANIFESTS)
    for keys in paths_of(suite, path)[:60]:
        for value in (None, -1, 'x<script>', [], {}, 1e308, 1 << 62):
            suite.case('scores', f'manifest {".".join(keys)}={value}', d.set_key(path, keys, value), c.MANIFESTS)


def add_sweeps(suite):
    for folder, _, files in os.walk(os.path.join(suite.base, 'sweep')):
        for file in files:
            path = os.path.relpath(os.path.join(folder, file), suite.base)
            if path.count('/') < 2 or file in ('run.json', 'metrics.jsonl'):
                suite.any_file('sweep', path, c.SWEEP, document=file.endswith('.json'))
    for grid in GRIDS:
        text = ('sweep --model model --data rows.jsonl --eval_data eval.jsonl --max_steps 1 '
                f'--grid {grid} --output_dir out')
        suite.case('sweep', 'grid ' + grid[:30], d.nothing, c.commands(text))


# What the program measured of the machine, in the cache.

def measured(**fields):
    machine = {'cpu': 'Intel(R) Xeon(R) Processor @ 2.50GHz', 'threads': 2}
    return json.dumps({'version': 3, 'machine': machine, 'rates': {}, **fields})


def rate(**fields):
    return measured(rates={'f32': {'lora': fields}})


RATE = {'matmul_flops': 1e11, 'fraction': 0.5, 'speed_flops': 1e11, 'spread': 0.1, 'model': 'a', 'date': 'b'}
TINY = {'matmul_flops': 1e-300, 'fraction': 1e-300, 'speed_flops': 1e-300, 'spread': 1e300, 'model': 'a', 'date': 'b'}
MEASURED = [
    '', 'null', '[]', '{}', d.nest(20000), '\xff',
    measured(rates=[]),
    measured(rates=3),
    measured(rates={'f32': 3}),
    measured(rates={'f32': {'lora': 3}}),
    measured(rates={'f32': {'lora': []}}),
    rate(matmul_flops=-1),
    rate(matmul_flops=1e11, fraction='x', model=3, date=[]),
    rate(**RATE, work_rates=[]),
    rate(**RATE, work_rates={'x': 1e308, 'y': -1}),
    measured(version='x'),
    measured(version=1e308),
    measured(version=-1),
    measured(version=2, rates={'f32': {'lora': TINY}}),
    measured(version=1, rates=[[3]]),
    measured(version=None),
]


def write_measured(content):
    def act():
        os.makedirs(d.CACHE + '/attune', exist_ok=True)
        d.write(d.CACHE + '/attune/machine.json', content.encode('latin-1'))
    return act


def measured_is_folder():
    shutil.rmtree(d.CACHE + '/attune', ignore_errors=True)
    os.makedirs(d.CACHE + '/attune/machine.json')


def clear_cache():
    shutil.rmtree(d.CACHE, ignore_errors=True)


def add_machine(suite):
    for content in MEASURED:
        suite.case('machine', content[-60:], write_measured(content), c.MACHINE)
    suite.case('machine', 'folder', measured_is_folder, c.MACHINE)
    suite.case('machine', 'gone', clear_cache, c.MACHINE[:1])


# The folder of `advise --measure`, which goes on where it stopped.

def chosen_paths(suite):
    """Of deep paths that end in the same key only the first."""
    seen = set()
    for keys in paths_of(suite, '../ladder-base/ladder.json'):
        if keys[0] == 'identity' or (keys[-1] in seen and len(keys) > 3):
            continue
        seen.add(keys[-1])
        yield keys


def add_ladders(suite):
    def case(name, *damage):
        copy = d.copy_folder('../ladder-base', 'ladder')
        suite.case('ladder', name, d.both(copy, clear_cache, *damage), c.LADDER)
    for content in ('', 'null', '[]', '{}', d.nest(20000), '\xff', '{"identity": 3}'):
        case(content[:10], d.text(LADDER, content.encode('latin-1')))
    case('whole')
    case('folder', d.folder(LADDER))
    case('cut', d.cut(LADDER, -20))
    for keys in chosen_paths(suite):
        for value in (None, -1, 'x', [], {}, 1e308, 1 << 62, [[1]]):
            case(f'{".".join(keys)}={value}', d.set_key(LADDER, keys, value))
    for keys in (['rungs', 'base'], ['rungs', 'prompt'], ['rungs', 'lora'], ['trained', 'lora'], ['trained']):
        case('less ' + '.'.join(keys), d.delete_key(LADDER, keys))
    for file in ('held-out.jsonl', 'train.jsonl', 'prompt.json'):
        path = 'ladder/' + file
        for content in (b'', b'{', b'{"text":"a"}\n'):
            case(f'{file} {content}', d.text(path, content))
        case(f'{file} None', d.gone(path))
        case(f'{file} and lora less', d.delete_key(LADDER, ['rungs', 'lora']),
             d.delete_key(LADDER, ['rungs', 'prompt']), d.text(path, b'{"text": 3}\n'))
