#!/usr/bin/env python3
"""Makes train.jsonl and eval.jsonl from Debian's dict-devil: Ambrose Bierce's dictionary as chat rows.

A row asks for a word and answers with the first prose paragraph of its entry, cleaned of what belongs to a
printed dictionary (part of speech, italics, etymology, cross-references, verses). A tool for developers, with
the standard library only:

    apt-get install dict-devil && python3 make.py
"""
import argparse
import gzip
import hashlib
import json
import pathlib
import re

HELD_OUT = 10  # one question in so many goes to eval.jsonl

# Slips of the 1993 transcription, which would otherwise be taught as spelling, and answers that end by
# announcing what is not in the row: (word, what the answer says, what it should say).
ERRATA = [
    ("abasement", 'wealth of power', 'wealth or power'),
    ("absent", 'vilifed', 'vilified'),
    ("basilisk", 'hatched form', 'hatched from'),
    ("battle", 'the teeth of a political', 'the teeth a political'),
    ("canonicals", 'worm by', 'worn by'),
    ("cerberus", 'is Professor Graybill', 'if Professor Graybill'),
    ("clergyman", 'method of better', 'method of bettering'),
    ("commendation", 'that resembles', 'that resemble'),
    ("consul", 'secure and office', 'secure an office'),
    ("convent", 'for woman who', 'for women who'),
    ("conversation", 'fair to the display', 'fair for the display'),
    ("disabuse", 'The present your', 'To present your'),
    ("epigram", 'characterize by', 'characterized by'),
    ("fairy", 'by naturalist to', 'by naturalists to'),
    ("flag", 'sees and vacant', 'sees on vacant'),
    ("fool", 'omniscience, omnipotent', 'omniscient, omnipotent'),
    ("grammar", 'feet for the', 'feet of the'),
    ("gravitation", 'strength proportion to', 'strength proportioned to'),
    ("harbor", 'shelter from stores', 'shelter from storms'),
    ("homicide", 'homocide', 'homicide'),
    ("hypocrite", 'profession virtues', 'professing virtues'),
    ("hypocrite", 'not respect secures', 'not respect, secures'),
    ("inadmissible", 'such as person', 'such a person'),
    ("incompossible", 'convey and equally', 'convey an equally'),
    ("justice", 'which is a more', 'which in a more'),
    ("laocoon", 'antique scripture', 'antique sculpture'),
    ("linen", '"A kind of cloth', 'A kind of cloth'),
    ("linen", 'of hemp." \u2014 Calcraft the Hangman.', 'of hemp.'),
    ("minister", 'diplomacy and officer', 'diplomacy an officer'),
    ("mouse", 'a lovely women', 'lovely woman'),
    ("mousquetaire", 'a might poor', 'a mighty poor'),
    ("noumenon", 'only be a process', 'only by a process'),
    ("outcome", 'juded', 'judged'),
    ("ovation", 'N ancient', 'In ancient'),
    ("patriotism", 'rubbish read to', 'rubbish ready to'),
    ("pedestrian", '(an audible)', '(and audible)'),
    ("pitiful", 'enemy of opponent', 'enemy or opponent'),
    ("pre-adamite", 'Little its known', 'Little is known'),
    ("reason", 'To weight', 'To weigh'),
    ("rector", 'Cruate', 'Curate'),
    ("replica", 'are mae with', 'are made with'),
    ("sacrament", 'indubitable be', 'indubitably be'),
    ("satan", 'sashcloth', 'sackcloth'),
    ("satan", ' "There is one favor that I should like to ask," said he.', ''),
    ("satire", 'soul-spirited', 'sour-spirited'),
    ("satire", 'his ever victim', 'his every victim'),
    ("scimetar", ', as the incident here related will serve to show. The account is translated from the '
                 'Japanese by Shusi Itama, a famous writer of the thirteenth century.', '.'),
    ("serial", 'synposis', 'synopsis'),
    ("sheriff", 'office of a country', 'officer of a county'),
    ("story", ' The truth of the stories here following has, however, not been successfully impeached.', ''),
    ("tree", 'beneficient', 'beneficent'),
    ("vituperation", 'Saite', 'Satire'),
    ("weather", 'setting up official', 'setting up of official'),
    ("werewolf", 'beastial', 'bestial'),
    ("werewolf", 'humane and is', 'humane as is'),
    ("zenith", 'considerably dissent', 'considerable dissent'),
]
HEADWORDS = {"aboriginies": "aborigines", "garther": "garter", "infalapsarian": "infralapsarian"}

# Entries that rest on a slur.
LEFT_OUT = {"african", "minstrel", "mulatto", "negro", "pickaninny", "razor", "red-skin"}

# Headings without a part of speech.
BARE_HEADS = {"CUI BONO?": "cui bono", "FORMA PAUPERIS.": "forma pauperis", "HABEAS CORPUS.": "habeas corpus",
              "LL.D.": "LL.D.", "R.I.P.": "R.I.P."}

HEAD = re.compile(r"""(?P<word>[A-Z][A-Z'-]*(?:\ [A-Z'-]+)*)        # the word itself
                      (?:\ or\ [A-Z]+|,\ [A-Z]+)?                  # another spelling
                      (?:\ \(or\ [A-Z]+\)(?P<rest>\ [A-Z]+))?      # ... in the middle: TZETZE (or TSETSE) FLY
                      ,?\s*(?:n\.\s?p\.?l\.|n\.|v\.t\.|v\.i\.|v\.|adj\.(?:\ and\ n\.)?|adv\.|pp\.|p\.p\.|
                             pro\.|pron\.|x\.)
                      [ ]*""", re.VERBOSE)


def index_number(digits):
    """dictd writes offsets in base 64, most significant digit first."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    number = 0
    for digit in digits:
        number = number * 64 + alphabet.index(digit)
    return number


def entries(folder):
    """The text of each entry, in the order of the book; two index words may point to one entry."""
    text = gzip.decompress((folder / "devil.dict.dz").read_bytes())
    places = set()
    for line in (folder / "devil.index").read_text(encoding="utf-8").splitlines():
        word, offset, length = line.split("\t")
        if not word.startswith("00database"):
            places.add((index_number(offset), index_number(length)))
    return [text[offset:offset + length].decode("utf-8") for offset, length in sorted(places)]


def split_head(entry):
    """(word, the rest of the entry), or None for entries about letters."""
    for head, word in BARE_HEADS.items():
        if entry.startswith(head):
            return word, entry[len(head):].lstrip(" ")
    match = HEAD.match(entry)
    if not match:
        return None
    return (match["word"] + (match["rest"] or "")).lower(), entry[match.end():]


def first_paragraph(body):
    """The prose before the first blank or indented line (an indent begins a verse, a quotation or another
    paragraph), and whether anything follows it."""
    lines = body.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.strip() or line.startswith("  ")), len(lines))
    return "\n".join(lines[:end]), any(line.strip() for line in lines[end:])


def without_last_sentence(text):
    """Cut at the last full stop that is not an abbreviation's."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"')]*(?=\s)", text)
            if not re.search(r"\b([A-Z]|Dr|Mr|Mrs|Messrs|St|Rev|Prof)\.$", text[:match.end()])]
    return text[:ends[-1]] if ends else ""


def clean(paragraph, more_follows):
    text = re.sub(r"(\w)-\s*\n\s*", r"\1-", paragraph)  # the source breaks lines only at real hyphens
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s*\[[^\]]*\]", "", text)  # [Latin], [from {ACADEME}], [sic]
    text = re.sub(r"[{}]|(?<!\w)_+|_+(?!\w)", "", text)  # marks of small capitals and italics
    text = re.sub(r"\s*\((?:See [A-Z]+|Vide supra)\.\)|\s*\bSee [A-Z]{2,}\.$", "", text)  # cross-references
    text = re.sub(r"\(\d\) ", "", text)  # numbers of senses
    text = re.sub(r",? ?-- ?", " \u2014 ", text).strip()
    # A sentence that runs on into the verse left out, or announces it.
    shorter = without_last_sentence(text)
    last = text[len(shorter):]
    announces = re.search(r"\b(the following|following (is|are|will)|as follows)\b", last, re.I)
    if (more_follows and announces) or not re.search(r"[.!?][\"')]*$", text):
        text = shorter
    return text[:1].upper() + text[1:]


def rows(folder):
    seen = set()
    for entry in entries(folder):
        head = split_head(entry)
        if head is None or head[0] in seen or head[0] in LEFT_OUT:
            continue
        word, body = head
        answer = clean(*first_paragraph(body))
        for _, wrong, right in (slip for slip in ERRATA if slip[0] == word):
            if wrong not in answer:
                raise SystemExit(f"make.py: the entry of {word!r} does not say {wrong!r}")
            answer = answer.replace(wrong, right)
        if answer:
            seen.add(word)
            yield f'Define "{HEADWORDS.get(word, word)}".', answer


def held_out(question):
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") % HELD_OUT == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dictd", type=pathlib.Path, default=pathlib.Path("/usr/share/dictd"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()
    split = {"train.jsonl": [], "eval.jsonl": []}
    for question, answer in rows(arguments.dictd):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        split["eval.jsonl" if held_out(question) else "train.jsonl"].append({"messages": messages})
    for name, content in split.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in content]
        (arguments.out / name).write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(content)} rows")


if __name__ == "__main__":
    main()
