"""Hostile recipes: YAML that is damaged, grows or nests, and each setting with values that it may not have.

Prices and JSON schemas, which a user writes by hand too, are here as well.
"""
import re

import commands as c
import damage as d

RECIPE = 'run.yaml'


def growing_aliases():
    """A few lines that stand for 9 to the power of 10 items."""
    lines = ['a: &a [x,x,x,x,x,x,x,x,x]\n']
    for before, name in zip('abcdefghi', 'bcdefghij'):
        lines.append(f'{name}: &{name} [' + ','.join(['*' + before] * 9) + ']\n')
    return ''.join(lines)


DOCUMENTS = {
    'aliases': growing_aliases(),
    'self alias': 'a: &a [*a]\n',
    'merge self': 'a: &a\n  <<: *a\n',
    'tab': 'method:\n\tlora',
    'nest flow': d.nest(20000),
    'nest maps': d.nest(5000, '{a: ', '}', '1'),
    'nest block': ''.join(' ' * i + 'a:\n' for i in range(3000)),
    'nest seq': '- ' * 20000 + 'x',
    'two docs': 'method: lora\n---\nmethod: full\n',
    'dup': 'method: lora\nmethod: full\n',
    'nulls': 'method:\nmodel:\ndata:\ntraining:\n',
    'list': '- a\n- b\n',
    'scalar': 'hello',
    'bad tag': 'method: !!binary "x"\n',
    'python': '!!python/object/apply:os.system ["x"]\n',
    'complex key': '? [a, b]\n: c\n',
    'bad alias': 'a: *nope\n',
    'long': 'method: ' + 'x' * 2000000,
    'percent': '%YAML 9.9\n---\na: 1\n',
    'nul': b'method: \0lora\n',
    'latin': b'method: \xff\n',
}

SETTINGS = {
    'training': [
        'learning_rate', 'max_steps', 'num_train_epochs', 'per_device_train_batch_size', 'gradient_accumulation_steps',
        'warmup_ratio', 'warmup_steps', 'weight_decay', 'max_grad_norm', 'adam_beta1', 'adam_beta2', 'adam_epsilon',
        'logging_steps', 'save_steps', 'eval_steps', 'save_total_limit', 'seed', 'data_seed', 'max_length', 'optim',
        'lr_scheduler_type', 'lr_scheduler_kwargs', 'bf16', 'packing', 'label_smoothing_factor',
        'neftune_noise_alpha', 'output_dir', 'optim_args', 'group_by_length', 'gradient_checkpointing',
        'eval_strategy', 'metric_for_best_model', 'eval_samples'],
    'lora': [
        'r', 'lora_alpha', 'lora_dropout', 'target_modules', 'bias', 'use_dora', 'init_lora_weights', 'rank_pattern',
        'layers_to_transform', 'modules_to_save', 'loraplus_lr_ratio', 'trainable_token_indices', 'use_rslora'],
    'model': ['name_or_path', 'torch_dtype', 'adapter', 'tokenizer', 'chat_template', 'offload', 'init_from_config'],
    'data': ['train', 'eval', 'shuffle'],
}
VALUES = ['null', '-1', '0', '4611686018427387904', '-9223372036854775808', '99999999999999999999', '1e308', '1e999',
          '.nan', '.inf', '-.inf', 'x', '[]', '{}', '[1, 2]', 'true', '0.5', '""', '"\\0"', '0x10', '1_000', '"1"']
PLANNED = ('-1', '4611686018427387904', '1e308', '.nan', 'x', '[]')

PRICES = ['currency: 3\n', 'currency: EUR\nelectricity_per_kwh: -1\n', 'electricity_per_kwh: .nan\n',
          'electricity_per_kwh: 1e308\n', 'devices: 3\n', 'currency: "' + 'x' * 100000 + '"\n']

SCHEMAS = [
    '', '3', '[]', '{', '{"$ref":"#"}', '{"$ref":"#/a"}', '{"$ref":"file:///etc/passwd"}', '{"$ref":"http://x/y"}',
    '{"type":"nope"}', '{"type":3}', '{"pattern":"("}', '{"minimum":"x"}', '{"properties":3}',
    d.nest(3000, '{"allOf":', '}', '{}'),
    '{"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}',
    '{"maxLength":-1}', '{"multipleOf":0}', '{"required":3}', '{"allOf":[' * 20000,
]
METRICS = [
    '--metrics nope', '--metrics regex --pattern "("', '--metrics regex --pattern "(a+)+$"', '--metrics regex',
    '--metrics numeric --tolerance nan', '--metrics numeric --tolerance -1', '--metrics code',
    '--metrics multiple_choice', '--general nowhere', '--general model', '--general rows.jsonl',
    '--metrics loss --max_rows 99999999', '--temperature nan --metrics chrf', '--top_p nan --metrics chrf',
    '--metrics chrf --temperature 1e-300 --max_new_tokens 2',
]


def add(suite):
    suite.any_file('yaml', RECIPE, c.RECIPE)
    for name, content in DOCUMENTS.items():
        suite.case('yaml', name, d.text(RECIPE, content), c.RECIPE)
    add_settings(suite)
    suite.any_file('plan', 'prices.yaml', c.PRICES)
    for content in PRICES:
        suite.case('plan', content[:30], d.text('prices.yaml', content), c.PRICES)
    for content in SCHEMAS:
        suite.case('schema', content[:40], d.text('schema.json', content), c.SCHEMA)
    for arguments in METRICS:
        text = f'eval --model model --data eval.jsonl --max_new_tokens 1 {arguments}'
        suite.case('schema', arguments, d.nothing, c.commands(text))


def with_setting(line, key, value):
    """A section of the recipe, one line of YAML, with the setting in place of its own, if it has it."""
    line = re.sub(r'(\{|, )' + key + r': (\[[^\]]*\]|[^,}]*)', r'\1', line)
    line = line.replace('{, ', '{').replace(', , ', ', ').replace(', }', '}')
    return line.replace('{', '{' + key + ': ' + value + ', ', 1).replace(', }', '}')


def setting(section, key, value):
    def act():
        lines = d.read_text(RECIPE).splitlines()
        changed = [with_setting(line, key, value) if line.startswith(section + ':') else line for line in lines]
        d.write(RECIPE, '\n'.join(changed) + '\n')
    return act


def add_settings(suite):
    for section, keys in SETTINGS.items():
        for key in keys:
            for value in VALUES:
                commands = c.RECIPE[:2] if value in PLANNED else c.RECIPE[:1]
                suite.case('yamlvalues', f'{section}.{key}={value}', setting(section, key, value), commands)
