"""Which commands read what: a damaged file is given to every command that would open it.

A command is its arguments, its standard input and whether it may end with exit code 1 (`data check`, rows with faults).
"""
import shlex


def command(text, stdin=b'', may_be_1=False):
    return shlex.split(text), stdin, may_be_1


def commands(*texts):
    return [command(text) for text in texts]


def train(model='model', rows='rows.jsonl', more=''):
    return f'train --model {model} --data {rows} --output_dir out --max_steps 1 {more}'


def of_model(model):
    """All that reads a model; the first four are the usual ones."""
    rows = 'rows.jsonl'
    return commands(
        f'info {model}',
        f'generate --model {model} --prompt hi --max_new_tokens 3',
        train(model),
        f'export --model {model} --format safetensors --output out',
    ) + [
        command(f'chat --model {model} --max_new_tokens 2', b'hi\nyou\n'),
    ] + commands(
        f'eval --model {model} --data {rows}',
        f'eval --model {model} --data {rows} --metrics exact_match --max_new_tokens 2 --max_rows 2',
        f'merge --model {model} --adapter run --output out --any_base',
        f'logits --model {model} --input_ids ids.json --output out.safetensors',
        f'tokenize --model {model} --text hello --chat',
        f'quantize --model {model} --output out',
        f'quantize --model {model} --output out --load_in_8bit true',
        f'plan --model {model} --data {rows}',
        f'plan --model {model} --tokens 1000 --method full',
        f'advise --model {model} --data {rows} --loss_seconds 1 --output out.yaml',
        f'prompt --model {model} --data {rows} --eval_data eval.jsonl --shots 1 --output out.json',
        f'sweep --model {model} --data {rows} --eval_data eval.jsonl --max_steps 1 --grid r=2 --output_dir out',
    ) + [
        command(f'data check {rows} --model {model}', may_be_1=True),
    ] + commands(
        f'data preview {rows} --model {model} --rows 1',
        f'data select {rows} --rows 2 --by ifd --model {model} --output out',
        f'data dedupe {rows} --semantic --model {model} --output out',
        train(model, more='--method qlora --load_in_4bit true'),
        train(model, more='--method full'),
        f'eval --model {model} --adapter run --data {rows}',
        f'bench ops --model {model} --rows 2',
        f'bench train --model {model} --tokens 16 --length 8 --steps 1',
    )


MODEL = of_model('model')
MODEL_USUAL = MODEL[:4]

GGUF_USUAL = commands(
    'info m.gguf',
    'logits --model m.gguf --input_ids ids.json --output out.safetensors',
    train('m.gguf', 'ids.jsonl'),
    'export --model m.gguf --format safetensors --output out',
)
GGUF = GGUF_USUAL + commands(
    'eval --model m.gguf --data ids.jsonl',
    'plan --model m.gguf --data ids.jsonl',
    'quantize --model m.gguf --output out',
    'generate --model m.gguf --prompt hi',
    'advise --model m.gguf --data ids.jsonl',
    'merge --model m.gguf --adapter run --output out --any_base',
    'bench ops --model m.gguf --rows 2',
)

ADAPTER = commands(
    'info run',
    'generate --model model --adapter run --prompt hi --max_new_tokens 2',
    'eval --model model --adapter run --data rows.jsonl',
    'merge --model model --adapter run --output out',
    'logits --model model --adapter run --input_ids ids.json --output out.safetensors',
    'train --model model --model.adapter run --data rows.jsonl --output_dir out --max_steps 1',
    'quantize --model model --adapter run --output out',
    'export --model model --adapter run --format safetensors --output out',
    'prompt --model model --data rows.jsonl --eval_data eval.jsonl --shots 1 --adapter run',
)

CHECKPOINT = commands(
    'resume run --set max_steps=6',
    'resume run --set max_steps=6 --force',
    'info run/checkpoint-4',
    'generate --model model --adapter run/checkpoint-4 --prompt hi --max_new_tokens 1',
)

TOKENIZER = commands(
    'tokenize --model model --text "hello there 12 you"',
    'tokenize --model model --text hello --chat',
) + [
    command('data check rows.jsonl --model model', may_be_1=True),
] + commands(
    train(),
    'generate --model model --prompt hi --max_new_tokens 2',
    'data preview rows.jsonl --model model',
)

TEMPLATE = commands(
    'tokenize --model model --text hello --chat',
    train(),
    'generate --model model --prompt hi --max_new_tokens 1',
    'info model',
)


def of_data(rows):
    return [
        command(f'data check {rows}', may_be_1=True),
    ] + commands(
        f'data clean {rows} --output out',
        f'data dedupe {rows} --output out',
        f'data split {rows} --output out --eval_fraction 0.3',
        f'data decontaminate {rows} --against eval.jsonl --output out',
        f'data decontaminate rows.jsonl --against {rows} --output out',
        f'data select {rows} --rows 1 --by longest --output out',
        f'data preview {rows} --model model',
        f'data report --data {rows} --output out',
        f'tokenizer train --input {rows} --vocab_size 300 --output out',
    )


def of_rows(rows):
    return commands(
        train(rows=rows),
        f'eval --model model --data {rows}',
        f'plan --model model --data {rows}',
        f'advise --model model --data {rows} --loss_seconds 1',
        f'prompt --model model --data {rows} --eval_data {rows} --shots 1',
        f'eval --model model --data {rows} --metrics chrf --max_new_tokens 1 --max_rows 1',
    ) + of_data(rows)


RECIPE = commands(
    'train run.yaml',
    'plan run.yaml',
    'sweep run.yaml --grid r=2 --output_dir out',
    'data preview --config run.yaml',
)

RUNS = commands(
    'runs show run',
    'runs show run --html out.html',
    'runs show run --svg out.svg',
    'runs compare run run2',
    'runs export run --format csv --output out.csv',
    'runs export run --format tensorboard --output out',
    'runs export run --format html --output out.html',
    'resume run --set max_steps=6',
    'merge --model model --adapter run --output out',
)

PROMPT = commands(
    'generate --model model --prompt_file prompt.json --prompt hi --max_new_tokens 1',
) + [
    command('chat --model model --prompt_file prompt.json --max_new_tokens 1', b'hi\n'),
] + commands(
    'eval --model model --data eval.jsonl --prompt_file prompt.json',
)

SCORES = commands(
    'data select rows.jsonl --rows 4 --by loss --model model --scores scores.jsonl --output out',
    'data report --data rows.jsonl --model model --scores scores.jsonl --output out',
)
SIGNATURES = commands('data dedupe rows.jsonl --merge s1.signatures s2.signatures --output out')
MANIFESTS = commands('data report clean.manifest.json unique.manifest.json --data unique.jsonl --output out')
SWEEP = commands(
    'sweep --model model --data rows.jsonl --eval_data eval.jsonl --max_steps 2 --grid r=2,4 --output_dir sweep')
LADDER = commands(
    'advise --measure --budget 1m --model model --data rows.jsonl --eval_data eval.jsonl --output_dir ladder')
IDS = commands('logits --model model --input_ids ids.json --output out.safetensors')
PRICES = commands('plan --model model --tokens 1000 --prices prices.yaml')
SCHEMA = commands(
    'eval --model model --data eval.jsonl --metrics json --schema schema.json --max_new_tokens 1 --max_rows 1')
MACHINE = commands(
    'plan --model model --tokens 1000',
    'advise --model model --data rows.jsonl --loss_seconds 1',
    'bench train --model model --tokens 16 --length 8 --steps 1',
    'doctor',
)


def writing_to(path):
    """Every command that writes, to one path, and three that read it."""
    rows = 'rows.jsonl'
    return commands(
        f'export --model model --format safetensors --output {path}',
        f'merge --model model --adapter run --output {path}',
        f'quantize --model model --output {path}',
        f'train --model model --data {rows} --max_steps 1 --output_dir {path}',
        f'data clean {rows} --output {path}',
        f'data split {rows} --output {path}',
        f'data report --data {rows} --output {path}',
        f'data preview {rows} --model model --html {path}',
        f'prompt --model model --data {rows} --eval_data eval.jsonl --shots 1 --output {path}',
        f'advise --model model --data {rows} --loss_seconds 1 --output {path}',
        f'sweep --model model --data {rows} --eval_data eval.jsonl --max_steps 1 --grid r=2 --output_dir {path}',
        f'tokenizer train --input rows.txt --vocab_size 300 --output {path}',
        f'synth --shape tiny --output {path}',
        f'runs export run --format csv --output {path}',
        f'runs export run --format tensorboard --output {path}',
        f'runs show run --html {path}',
        f'runs show run --svg {path}',
        f'plan --model model --data {rows} --output {path}',
        f'eval --model model --data eval.jsonl --metrics loss --output {path}',
        f'data select {rows} --rows 2 --by loss --model model --scores {path} --output out',
        f'resume {path}',
        f'info {path}',
        f'tokenize --model model --file {path}',
    )


def naming(name):
    """Every place where a model, an adapter or a file of rows is named."""
    return commands(
        f'info {name}',
        f'generate --model {name} --prompt x --max_new_tokens 1',
        f'plan --model {name} --tokens 100',
        train(name),
        train(rows=name),
        f'merge --model model --adapter {name} --output out',
    ) + [
        command(f'data check {name}', may_be_1=True),
    ]
