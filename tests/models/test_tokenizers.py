"""The tokenizers of LLaDA and Dream, read from their files alone."""

import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.models.checkpoints import load_model
from harness.models.tokenizers import load_tokenizer

ROWS = 384
BOTH = pytest.mark.parametrize("published", ["published_llada", "published_dream"])
QUESTION = [{"role": "user", "content": " 2 + 2? "}]


def tokenizer_of(folder, **options):
    return load_tokenizer(folder, folder.name, **{"vocabulary": ROWS, **options})


@pytest.fixture(scope="module")
def loaded(published_llada, published_dream):
    return {folder: tokenizer_of(folder) for folder in (published_llada, published_dream)}


@BOTH
def test_nothing_is_added_when_encoding(request, published):
    tokenizer = tokenizer_of(request.getfixturevalue(published))
    vocabulary = tokenizer.backend.get_vocab()
    assert tokenizer.encode("Q") == [vocabulary["Q"]]
    assert tokenizer.encode("") == []


def test_special_tokens_in_a_text_become_their_ids_and_have_no_text(published_llada):
    tokenizer = tokenizer_of(published_llada)
    vocabulary = tokenizer.backend.get_vocab()
    ids = tokenizer.encode("<|startoftext|>Q<|mdm_mask|><|eot_id|><|endoftext|>")
    assert ids == [
        vocabulary[token] for token in ("<|startoftext|>", "Q", "<|mdm_mask|>", "<|eot_id|>", "<|endoftext|>")
    ]
    assert tokenizer.decode(ids) == "Q"


def test_dream_s_special_tokens_come_from_its_tokenizer_config(published_dream):
    tokenizer = tokenizer_of(published_dream)
    vocabulary = tokenizer.backend.get_vocab()
    assert tokenizer.encode("<|beginoftext|>Q<|mask|><|im_end|>") == [
        vocabulary[token] for token in ("<|beginoftext|>", "Q", "<|mask|>", "<|im_end|>")
    ]
    assert tokenizer.decode(tokenizer.encode("<|im_start|>Q<|mask|><|im_end|><|endoftext|>")) == "Q"


def test_dream_reads_a_tokenizer_json_too(published_dream, copy_of):
    expected = tokenizer_of(published_dream)
    folder = copy_of(published_dream)
    expected.backend.backend_tokenizer.save(str(folder / "tokenizer.json"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    text = "<|im_start|>Solve the 4x4 Sudoku\n\n1234  é<|im_end|>"
    assert tokenizer_of(folder).encode(text) == expected.encode(text)


@BOTH
def test_rows_of_the_embedding_without_a_token_have_no_text(request, published):
    tokenizer = tokenizer_of(request.getfixturevalue(published))
    (letter,) = tokenizer.encode("Q")
    assert tokenizer.decode([letter, ROWS - 1, letter]) == "QQ"


@BOTH
def test_spaces_are_left_as_they_are(request, published):
    tokenizer = tokenizer_of(request.getfixturevalue(published))
    text = "a , b . It 's  3 ?\n\n x"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@BOTH
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="|"), max_size=40))
def test_any_text_comes_back(request, loaded, published, text):
    folder = request.getfixturevalue(published)
    # Qwen2's tokenizer, which Dream uses, composes accents first.
    expected = unicodedata.normalize("NFC", text) if published == "published_dream" else text
    assert loaded[folder].decode(loaded[folder].encode(text)) == expected


def test_llada_s_messages_end_in_the_assistant_s_header(published_llada):
    assert tokenizer_of(published_llada).apply_chat_template(QUESTION) == (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n2 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_dream_s_messages_end_in_the_assistant_s_turn(published_dream):
    expected = "<|im_start|>user\n 2 + 2? <|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer_of(published_dream).apply_chat_template(QUESTION) == expected


def test_a_template_may_have_a_file_of_its_own(published_dream, copy_of):
    folder = copy_of(published_dream)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    assert tokenizer_of(folder).apply_chat_template(QUESTION) == " 2 + 2? !"


def test_the_ends_of_a_turn_are_found_by_their_text(published_llada, published_dream):
    for folder, text in ((published_llada, "<|eot_id|>"), (published_dream, "<|im_end|>")):
        tokenizer = tokenizer_of(folder)
        assert tokenizer.turn_end_ids == (tokenizer.backend.get_vocab()[text],)


@pytest.mark.parametrize("template", ["{% for %}", "{{ messages[0]['content'] + 3 }}", "{{ raise_exception('no') }}"])
def test_a_template_that_fails_is_refused(published_llada, copy_of, template):
    folder = copy_of(published_llada)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    tokenizer = tokenizer_of(folder)
    with pytest.raises(UserError, match="The chat template of 'LLaDA-Tiny-Instruct' fails"):
        tokenizer.apply_chat_template(QUESTION)


@pytest.mark.parametrize(
    ("published", "missing"),
    [("published_llada", "tokenizer.json"), ("published_dream", "vocab.json"), ("published_dream", "merges.txt")],
)
def test_missing_files_are_named(request, copy_of, published, missing):
    folder = copy_of(request.getfixturevalue(published))
    (folder / missing).unlink()
    with pytest.raises(UserError, match=r"has no tokenizer: put tokenizer\.json \(LLaDA\), or vocab\.json, merges"):
        load_model(ModelConfig(name=str(folder)), task="sudoku", device="cpu")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_file_is_refused(published_llada, copy_of, file, content):
    folder = copy_of(published_llada)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match="The tokenizer files of 'LLaDA-Tiny-Instruct' cannot be read"):
        tokenizer_of(folder)


OVERFLOW = [{"type": "Strip", "content": "a", "start": 10**18, "stop": 10**18}]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model", {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "absent"}),
        ("model", {"type": "Unigram", "unk_id": 5, "vocab": [["a", 0.0]]}),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        ("normalizer", {"type": "Replace", "pattern": {"String": ""}, "content": "b"}),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}),
        ("decoder", {"type": "Sequence", "decoders": OVERFLOW}),
        ("added_tokens", [{"id": 10**30, "content": "x"}]),
        ("added_tokens", None),
        ("version", 3),
    ],
)
def test_a_tokenizer_on_which_the_library_panics_or_aborts_is_refused(published_llada, copy_of, part, value):
    folder = copy_of(published_llada)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    with pytest.raises(UserError, match=r"The tokenizer files of 'LLaDA-Tiny-Instruct' cannot be read \(.*\); fetch"):
        tokenizer_of(folder)


def test_a_text_on_which_the_library_panics_is_one_sentence(published_llada, copy_of):
    folder = copy_of(published_llada)
    path = folder / "tokenizer.json"
    search = {"type": "Replace", "pattern": {"Regex": "(z+)+y"}, "content": "b"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": search}))
    tokenizer = tokenizer_of(folder)
    assert tokenizer.encode("abc")
    with pytest.raises(UserError, match=r"The tokenizer of 'LLaDA-Tiny-Instruct' cannot encode a text \(.*retry-limit"):
        tokenizer.encode("z" * 60)


def test_padding_and_truncation_of_the_file_are_not_followed(published_llada, copy_of):
    folder = copy_of(published_llada)
    path = folder / "tokenizer.json"
    padding = {"strategy": {"Fixed": 10**10}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
    truncation = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    changed = {"padding": padding | {"pad_to_multiple_of": None}, "truncation": truncation}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert tokenizer_of(folder).encode("Solve it.") == tokenizer_of(published_llada).encode("Solve it.")


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json", "chat_template.jinja"]
)
def test_a_file_that_is_too_large_or_never_ends_is_refused(published_llada, copy_of, file):
    folder = copy_of(published_llada)
    (folder / file).unlink(missing_ok=True)
    (folder / file).touch()
    os.truncate(folder / file, 3 << 30)
    with pytest.raises(UserError, match=r"it has 3,221,225,472 bytes, and at most 134,217,728 are read"):
        tokenizer_of(folder)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(UserError, match=r"it is not a regular file|has no tokenizer"):
        tokenizer_of(folder)


def test_a_tokenizer_of_a_larger_model_is_refused(published_llada):
    largest = max(tokenizer_of(published_llada).backend.get_vocab().values())
    assert tokenizer_of(published_llada, vocabulary=largest + 1)
    with pytest.raises(UserError, match=f"has a token {largest}, the model knows {largest} tokens"):
        tokenizer_of(published_llada, vocabulary=largest)


def test_a_completion_ends_with_its_turn_or_with_the_text_alone(published_llada):
    vocabulary = tokenizer_of(published_llada).backend.get_vocab()
    ends = {
        turns_end: load_model(
            ModelConfig(name=str(published_llada)), task="sudoku", device="cpu", turns_end=turns_end
        ).special.end_ids
        for turns_end in (True, False)
    }
    assert ends == {
        True: (vocabulary["<|endoftext|>"], vocabulary["<|eot_id|>"]),
        False: (vocabulary["<|endoftext|>"],),
    }
