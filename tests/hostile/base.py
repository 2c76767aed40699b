"""Makes the base folder, of which every case gets a copy: a small model in each form, rows in each form, and what each
command leaves. All of it is made by the program under test, but for two fixtures."""
import gzip
import json
import os
import pathlib
import shlex
import shutil

import commands as c
import damage as d

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / 'tests' / 'data'
PRICES = REPOSITORY / 'catalogue' / 'prices.yaml'

TEMPLATE = ('{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}'
            '{% if add_generation_prompt %}a:{% endif %}\n')
RECIPE = '''method: lora
model: {name_or_path: model}
data: {train: rows.jsonl, eval: eval.jsonl}
lora: {r: 4, lora_alpha: 8, target_modules: [q_proj, v_proj]}
training: {output_dir: out, max_steps: 1, learning_rate: 2e-4}
'''
MADE_BY_THE_PROGRAM = [
    'train --model model --data rows.jsonl --eval_data eval.jsonl --output_dir run '
    '--max_steps 4 --save_steps 2 --logging_steps 1',
    'train --model model --data rows.jsonl --output_dir run2 --max_steps 1 --learning_rate 1e-3',
    'quantize --model model --output nf4 --bnb_4bit_use_double_quant true',
    'quantize --model model --output int8 --load_in_8bit true',
    'quantize --model model --output fp4 --bnb_4bit_quant_type fp4',
    'prompt --model model --data rows.jsonl --eval_data eval.jsonl --shots 2 --system "Be short." '
    '--output prompt.json',
    'data clean rows.jsonl --output clean',
    'data dedupe clean.jsonl --output unique',
    'data select rows.jsonl --rows 4 --by loss --model model --scores scores.jsonl --output sel',
    'data dedupe rows.jsonl --shard 1/2 --output s1',
    'data dedupe rows.jsonl --shard 2/2 --output s2',
    'sweep --model model --data rows.jsonl --eval_data eval.jsonl --max_steps 2 --grid r=2,4 --output_dir sweep',
]


def make(root, run):
    """Makes root/base and root/ladder-base; `run(arguments)` runs the program in root/w, its exit code comes first."""
    work = os.path.join(root, 'w')
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    os.makedirs(os.path.join(root, 'hf'), exist_ok=True)
    os.chdir(work)

    def must_run(arguments):
        result = run(arguments)
        assert result[0] == 0, (arguments, result)
    must_run(shlex.split('synth --shape tiny --output model'))
    write_beside_model()
    write_rows()
    for text in MADE_BY_THE_PROGRAM:
        must_run(shlex.split(text))
    d.write('run.yaml', RECIPE)
    shutil.copy(FIXTURES / 'gguf' / 'tiny_llama_mixed.gguf', 'm.gguf')
    shutil.copyfile(PRICES, 'prices.yaml')
    write_shards()
    must_run(c.LADDER[0][0])
    shutil.rmtree('../ladder-base', ignore_errors=True)
    shutil.move('ladder', '../ladder-base')
    shutil.rmtree(d.CACHE, ignore_errors=True)
    os.chdir(root)
    os.rename(work, os.path.join(root, 'base'))


def write_beside_model():
    d.write('model/chat_template.jinja', TEMPLATE)
    generation = {'eos_token_id': 2, 'temperature': 0.7, 'top_p': 0.9, 'do_sample': True}
    d.write('model/generation_config.json', json.dumps(generation))
    d.write('model/special_tokens_map.json', json.dumps({'eos_token': '</s>', 'bos_token': '<s>'}))


def write_rows():
    rows = []
    for i in range(12):
        question = {'role': 'user', 'content': f'word {i}?'}
        answer = {'role': 'assistant', 'content': f'It is thing number {i * 7}.'}
        rows.append({'messages': [question, answer]})
    lines = [json.dumps(row) + '\n' for row in rows]
    d.write('rows.jsonl', ''.join(lines))
    d.write('eval.jsonl', ''.join(lines[:3]))
    d.write('rows.json', json.dumps(rows))
    d.write('rows.jsonl.gz', gzip.compress(d.read('rows.jsonl')))
    quoted = [f'"word {i}?","It is ""thing"" number {i * 7}."\n' for i in range(12)]
    d.write('rows.csv', 'prompt,completion\n' + ''.join(quoted))
    tabbed = [f'word {i}?\tIt is thing number {i * 7}.\n' for i in range(12)]
    d.write('rows.tsv', 'prompt\tcompletion\n' + ''.join(tabbed))
    d.write('rows.txt', 'Some words here.\n\nAnd others there.\n' * 20)
    shutil.copy(FIXTURES / 'parquet' / 'chats_snappy.parquet', 'rows.parquet')
    d.write('ids.json', '[[1,2,3],[4,5]]')


def write_shards():
    """The model once more, in two files and an index."""
    os.mkdir('sharded')
    for file in os.listdir('model'):
        if file != 'model.safetensors':
            shutil.copy('model/' + file, 'sharded/' + file)
    header, data = d.read_tensors('model/model.safetensors')
    header.pop('__metadata__', None)
    names = sorted(header)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f'model-0000{number}-of-00002.safetensors'
        shard_header, shard_data = {}, b''
        for name in part:
            begin, end = header[name]['data_offsets']
            offsets = [len(shard_data), len(shard_data) + end - begin]
            shard_header[name] = {**header[name], 'data_offsets': offsets}
            shard_data += data[begin:end]
            places[name] = file
        d.write_tensors('sharded/' + file, shard_header, shard_data)
    index = {'metadata': {'total_size': len(data)}, 'weight_map': places}
    d.write('sharded/model.safetensors.index.json', json.dumps(index))
