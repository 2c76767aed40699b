"""Tokenizers that attune trains, loaded with transformers and with tokenizers: the same ids as attune's, and the text back."""
import shutil

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from common import DATA, ROOT, attune, strictly

TEXTS = [
    "the cat sat on the mat",
    " leading and trailing  ",
    "two  spaces   and    more     x",
    "line\nbreak\r\n\ttab\n\n\nend\n",
    "unknown: ꙮ 𓀀 ﷽ Ω ½ ǅ 👩‍👩‍👧 é ｆｕｌｌ　ｗｉｄｔｈ",
    "日本語と東京に行きます。Москва! مرحبا שלום नमस्ते 안녕하세요",
    "def f(x):\n    return x == 2024 # 3.14159\n",
    "<0x0A> <0x41><0xFF> <0x4 0x41>",
    "=" * 77 + " " * 77 + "*" * 77,
]

# Text that spells one of these becomes it, in transformers too.
SPECIAL = ["<unk>", "<s>", "<pad>", "<|im_start|>", "<|im_end|>"]


def corpus():
    """The project's own words: enough text, and always there."""
    return sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "src").glob("*/*.h"))


def run(table, work):
    table.title("Tokenizers trained by attune")
    sources = [path.read_text() for path in sorted((ROOT / "src" / "data").glob("*.cc"))]
    held_out = TEXTS + [text for text in sources if not any(token in text for token in SPECIAL)]
    (work / "corpus").mkdir()
    for i, path in enumerate(corpus()):
        shutil.copy(path, work / "corpus" / f"{i}.txt")
    for kind in ("bpe", "unigram"):
        for prefix in ("true", "false"):
            table.guard(f"{kind}, add_dummy_prefix {prefix}", lambda k=kind, p=prefix: check(table, work, held_out, k, p))


def check(table, work, held_out, kind, prefix):
    # attune tokenize wants a model around the tokenizer; its weights do not matter.
    folder = work / f"{kind}-{prefix}"
    attune("tokenizer", "train", "--input", work / "corpus", "--vocab_size", 2000, "--model_type", kind, "--chat_template",
           "chatml", "--add_dummy_prefix", prefix, "--output", folder)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(DATA / "models" / "llama" / name, folder / name)
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded = strictly(AutoTokenizer.from_pretrained, str(folder))
    name = f"{kind}, add_dummy_prefix {prefix}"
    different = [text for text in held_out if ours(folder, work, text) != loaded(text).input_ids]
    table.same(f"{name}: ids", not different, repr(different[:1])[:60])
    lost = [text for text in held_out if fast.decode(fast.encode(text, add_special_tokens=False).ids) != text]
    table.same(f"{name}: text comes back", not lost, repr(lost[:1])[:60])
    messages = [{"role": "user", "content": "Hi"}]
    rendered = loaded.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
    chat = attune("tokenize", "--model", folder, "--text", "Hi", "--chat")["ids"]
    table.same(f"{name}: a conversation", rendered == chat, f"{rendered} {chat}")


def ours(folder, work, text):
    (work / "text").write_text(text, newline="")
    return attune("tokenize", "--model", folder, "--file", work / "text")["ids"]
