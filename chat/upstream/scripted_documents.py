"""Answers of the demonstration provider from documents: their own sentences, with source marks."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat.upstream.scripted_words import parse_output

NAME = "file_search"
# Questions with these words are about documents, not about one order.
WRITTEN_DOWN = re.compile(
    r"\b(?:polic(?:y|ies)|guarantees?|warrant(?:y|ies)|guides?|manuals?|handbooks?|documents?"
    r"|terms|conditions|rules?|says?|written)\b",
    re.IGNORECASE,
)
NOTHING = "I found nothing about that in the documents."
FOR_MODELS = "Nothing was found. Rephrase the query, or say that nothing was found."
MAX_SENTENCES, MAX_SECTIONS = 3, 5
MAX_QUERY_LENGTH = 500
# A sentence is relevant if its score is at least this fraction of the best one's.
MIN_RELATIVE_SCORE = 0.7
MIN_SCORE = 0.4
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"“(])")
HEADING = re.compile(r"(#{1,6})\s")
MAX_TITLE_LENGTH = 200
WORD = re.compile(r"[a-z0-9]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that an answer to such a question contains.
EXPECTED = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(answers, re.IGNORECASE))
    for asked, answers in (
        (r"how long|\bwhen\b|how soon", r"\b(?:minute|hour|day|week|month|year)s?\b"),
        (r"how much|costs?\b|price|expensive|\bpay\b|\bfree\b", r"\b(?:dollars?|free|charge)\b"),
        (r"how heavy|weigh", r"\b(?:kilo)?grams?\b"),
    )
)
COMMON = _set(
    "a about all am an and any are as at be been but by can could did do does else for from get "
    "give had has have how i if in into is it its just know long many may me much must my no not "
    "of on one or our out please say says should so some tell than that the their them then there "
    "these they this those to too up us want was we were what when where which who why will with "
    "would you your"
)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence of a passage; `titles` are the headings above it."""

    text: str
    mark: str
    passage: int
    titles: tuple[str, ...]
    opens: bool


def build_query(text: str) -> str:
    """Return the arguments of a search for a person's question."""
    return json.dumps({"query": text.strip()[:MAX_QUERY_LENGTH] or "?"}, ensure_ascii=False)


def build_answer(question: str, output: str) -> str:
    """Return the sentences of a search's output that match the question best, in their order."""
    found = parse_output(output)
    passages = [item for item in found.get("passages") or [] if isinstance(item, dict)]
    sentences = _sentences(passages)
    overview = _choose_overview(_stems(question), sentences)
    chosen = overview or _choose_sentences(question, sentences)
    note = str(found.get("note") or "").removeprefix(FOR_MODELS)
    if not chosen:
        return f"{NOTHING} {note}".strip()
    lines = [
        f"{f'**{item.titles[-1]}:** ' if overview else ''}{item.text} {item.mark}"
        for item in chosen
    ]
    said = lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)
    head = "" if len(lines) == 1 else "Here is what the documents say:\n\n"
    return f"{head}{said}" + (f"\n\n{note.strip()}" if note.strip() else "")


def _sentences(passages: Sequence[dict[str, Any]]) -> list[Sentence]:
    found = []
    for number, passage in enumerate(passages):
        # A name describes the whole document.
        name = str(passage.get("file") or "").rpartition(".")[0]
        titles, opens = [name], True
        for line in str(passage.get("text") or "").splitlines():
            if heading := HEADING.match(line):
                title = line.strip("# \t")[:MAX_TITLE_LENGTH]
                titles, opens = [*titles[: len(heading[1])], title], True
                continue
            for text in SENTENCE_END.split(line.strip(" \t-*>|")):
                if not WORD.search(text.lower()):
                    continue
                found.append(
                    Sentence(
                        text=text,
                        mark=str(passage.get("mark") or ""),
                        passage=number,
                        titles=tuple(titles),
                        opens=opens,
                    )
                )
                opens = False
    return found


def _choose_sentences(question: str, sentences: list[Sentence]) -> list[Sentence]:
    wanted = _stems(question)
    if not wanted or not sentences:
        return []
    seen = [_stems(sentence.text) for sentence in sentences]
    common = Counter(stem for stems in seen for stem in stems)
    weights = {stem: math.log(1 + len(sentences) / (1 + common[stem])) for stem in wanted}
    expected = [answers for asked, answers in EXPECTED if asked.search(question)]
    scores = [
        _score(candidate, stems, weights, expected)
        for candidate, stems in zip(sentences, seen, strict=True)
    ]
    best = max(scores)
    if best < MIN_SCORE * sum(weights.values()):
        return []
    ranked = sorted(range(len(sentences)), key=lambda at: -scores[at])[:MAX_SENTENCES]
    return [sentences[at] for at in sorted(ranked) if scores[at] >= MIN_RELATIVE_SCORE * best]


def _score(
    sentence: Sentence,
    stems: frozenset[str],
    weights: dict[str, float],
    expected: list[re.Pattern[str]],
) -> float:
    """Return how much of the question a sentence and its headings match; rare words count more."""
    heading = _stems(sentence.titles[-1])
    own = sum(weights[stem] for stem in weights.keys() & stems)
    above = sum(weights[stem] for stem in weights.keys() & heading)
    whole = sum(weights[stem] for stem in weights.keys() & _stems(" ".join(sentence.titles)))
    score = own + 0.4 * above + 0.2 * whole
    if heading and heading <= weights.keys():
        score += above
    if not score:
        return 0.0
    fits = any(pattern.search(sentence.text) for pattern in expected)
    return score + (max(weights.values()) * 0.7 if fits else 0.0) - 0.05 * sentence.passage


def _choose_overview(wanted: frozenset[str], sentences: list[Sentence]) -> list[Sentence]:
    """Return the beginning of each section if the question is about the whole document."""
    if not wanted:
        return []
    about = next(
        (sentence for sentence in sentences if wanted <= _stems(" ".join(sentence.titles[:2]))),
        None,
    )
    if about is None:
        return []
    same = [
        sentence for sentence in sentences if sentence.passage == about.passage and sentence.opens
    ]
    return same[:MAX_SECTIONS] if len(same) > 1 else []


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in WORD.findall(text.lower()) if word not in COMMON)


def _stem(word: str) -> str:
    for ending, instead in (
        ("ies", "y"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
        ("e", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + instead
    return word
