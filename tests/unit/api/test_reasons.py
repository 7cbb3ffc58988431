"""The closed lists of words in a status."""

from __future__ import annotations

import json
import re

import pytest

from trainyard_operator.api import reasons
from trainyard_operator.api.reasons import Word

VOCABULARIES = sorted(
    (item for item in vars(reasons).values() if isinstance(item, type) and issubclass(item, Word) and item is not Word),
    key=lambda item: item.__name__,
)
WORDS = [pytest.param(word, id=f"{type(word).__name__}-{word}") for words in VOCABULARIES for word in words]


def test_there_are_vocabularies():
    assert len(VOCABULARIES) >= 8


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_camel_case_and_documented_by_a_sentence(word):
    assert re.fullmatch(r"([A-Z][a-z]+)+", word)
    assert re.fullmatch(r"[A-Z].{15,}\.", word.explanation)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_plain_text_in_json_and_in_messages(word):
    assert json.loads(json.dumps({"reason": word})) == {"reason": str(word)}
    assert f"{word}" == word.value


@pytest.mark.parametrize("words", VOCABULARIES, ids=lambda words: words.__name__)
def test_explanations_differ(words):
    assert len({word.explanation for word in words}) == len(list(words))
