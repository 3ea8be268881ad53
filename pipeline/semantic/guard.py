"""What two prompts must have in common to the letter, whatever their vectors say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from routing.semantic import Guard

# One question in several forms, in lower case: each is brought into one. All of them look at the form and
# none at the matter, so that two prompts of one signature ask for one thing.
_FORMS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        # Contractions.
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"\b(\w+)n't\b", r"\1 not"),
        (r"\bwhats\b", "what is"),
        (r"\b(what|who|where|when|how|it|that|there|here)'s\b", r"\1 is"),
        # Politeness, which changes nothing in the answer.
        (r"\b(?:can|could|would|will) you (?:please )?(?:tell me\b|(?=explain\b|show\b|give\b))", ""),
        (r"\A\W*(?:can|could|would|will) you\b", ""),
        (r"\bi(?: would|'d) like(?: to know)?\b|\bi want to know\b|\bdo you know\b", ""),
        (r"\b(write|recommend|suggest|draft) me\b", r"\1"),
        (r"\A(\W*explain .+) to me(?=\W*\Z)", r"\1"),
        (r"\b(?:tell|show|give) me\b|\bplease\b|\bfor me(?=\W*\Z)", ""),
        (r"\bkannst du mir (?:bitte )?sagen\b|\bbitte\b|\bs'il (?:te|vous) plaît\b|\bpor favor\b", ""),
        # Ways to begin. "How do you" stays: it may ask for the model itself.
        (r"\bhow (?:to|do i|can i|does one|should one)\b", "how"),
        (r"\bis it possible to\b", "i"),
        (r"\b(?:is|are) able to\b", ""),
        (r"\b(?:are|is) (\w+) able to\b", r"\1"),
        (r"\A\W*(?:explain|define)\b", ""),
        (r"\b(?:is|are) there\b|\bthere (?:is|are)\b", ""),
        (r"\A\W*in (?:what|which) year\b", "when"),
        (r"\A\W*what does (.+?) mean(?=\W*\Z)", r"meaning \1"),
        # "In git, how ..." is "how ... in git".
        (r"\A\W*((?:in|at|as|on|when|for) [^,.?!]+), ([^.?!]+?)(?=\W*\Z)", r"\2 \1"),
    )
)
# Words that may be there or not. Everything else counts: prepositions, pronouns, tenses and modal verbs are
# what near misses differ in.
_LIGHT = frozenset({"a", "an", "the", "of", "is", "are", "am", "do", "does", "what", "which", "can", "could"})
_POSSESSIVE = re.compile(r"'s?\Z")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*'?\Z")
# Brackets are none of them: 2 * (3 + 4) is not (2 * 3) + 4.
_OPENING = "\"'\u201c\u201e\u00ab\u00bf\u00a1"
_CLOSING = ".,;:?\"'\u201d\u201c\u00bb\u2026"
# Fewer words in capitals may be abbreviations.
_SHOUTED = 3
# Longer prompts are seldom the same question in another form, and each form costs time for each character.
_FORMS_CHARS = 300

# What `marks` looks at beside figures, signs and abbreviations: negations, kinds of question, direction and
# time, numbers, units, who and whose, pairs that vectors take for each other, languages.
_MARK_WORDS = """
    not no never none nothing nobody without neither nor nicht kein keine ohne nie ne pas sans jamais sin
    nunca except unless less more least most only

    who whom whose when where why should must may wer wann wo warum qui quand où pourquoi

    from to into than before after over under above below on off up down in out between versus first second
    third last next previous now then today tomorrow yesterday was were did had will would am pm morning
    evening night noon midnight spring summer autumn fall winter day week month quarter year hour minute
    january february march april june july august september october november december monday tuesday
    wednesday thursday friday saturday sunday

    zero one two three four five six seven eight nine ten eleven twelve twenty hundred thousand million
    half double twice once

    gram kilogram ounce pound metre meter foot feet inch mile kilometre kilometer litre liter gallon dollar
    euro yen celsius fahrenheit percent mg g kg cm km kb mb gb c f

    i my you your he his she her we our they their

    enable disable lock unlock open close start stop increase decrease raise lower max min maximum minimum
    largest smallest biggest oldest newest highest lowest ascending descending buy sell buying selling
    upload download install uninstall legal illegal valid invalid safe unsafe agree disagree advantage
    disadvantage pro con father mother son daughter wife husband formal informal beginner expert

    english german french spanish italian portuguese polish dutch japanese chinese british american
    """
_MARKS = frozenset(_MARK_WORDS.split())


def signature(text: str, guard: Guard) -> str:
    """What must be equal of two prompts; "" under "off".

    It goes into the hash of the partition: so it is compared before any vector, and not stored.
    """
    if guard == "off":
        return ""
    tokens = _tokens(text)
    if guard == "marks":
        tokens = (token for token in tokens if not token.isspace() and _is_mark(token))
    return "\x1f".join(tokens)


def _tokens(text: str) -> Iterator[str]:
    """Words without case, number and form; figures, abbreviations, code and line breaks as they are."""
    # NFC, not NFKC, which takes a superscript for a figure.
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'").strip()
    if text.upper() == text and len(text.split()) >= _SHOUTED:
        text = text.lower()
    forms = _FORMS if len(text) <= _FORMS_CHARS else ()
    for place, line in enumerate(text.split("\n")):
        if place:
            # Line breaks and indentation mean something in code and verse.
            yield "\n" + " " * (len(line) - len(line.lstrip()))
        yield from _words(line, forms)


def _words(line: str, forms: tuple[tuple[re.Pattern[str], str], ...]) -> Iterator[str]:
    line = " ".join(_lowered(chunk, first=not place) for place, chunk in enumerate(line.split()))
    for form, words in forms:
        line = form.sub(words, line)
    for chunk in line.split():
        word = _trimmed(chunk)
        if not _WORD.match(word):
            if word:
                yield word
            continue
        word = _POSSESSIVE.sub("", word)
        if word not in _LIGHT:
            yield word if word.isupper() else _singular(word)


def _lowered(chunk: str, *, first: bool) -> str:
    """In small letters, but for abbreviations and whatever is no word: US is not us, and vitamin A has a
    name."""
    word = _trimmed(chunk)
    if not _WORD.match(word):
        return chunk
    named = word.isupper() and (len(word) > 1 or (word == "A" and not first))
    return chunk if named else chunk.lower()


def _trimmed(chunk: str) -> str:
    """Without the punctuation around it. An exclamation mark after a figure is a factorial."""
    chunk = chunk.lstrip(_OPENING).rstrip(_CLOSING)
    plain = chunk.rstrip("!?.")
    return plain if not plain or _WORD.match(plain) else chunk


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _is_mark(token: str) -> bool:
    return token in _MARKS or token.isupper() or not _WORD.match(token)
