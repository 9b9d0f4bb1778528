"""Chat templates as transformers renders them, letter by letter; and hostile ones, which end in one sentence."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.models import untrusted
from harness.models.tokenizers import CheckpointTokenizer, load_tokenizer
from harness.models.untrusted import UntrustedError, render_template

ROWS = 384
QUESTION = [{"role": "user", "content": " 2 + 2? "}]
ANSWERED = [{"role": "system", "content": "Be brief.\n"}, *QUESTION, {"role": "assistant", "content": "4, since \n"}]
LLAMA_3 = (
    "{{- bos_token }}{%- for message in messages %}\n"
    "    {%- if message.role == 'system' %}{% set found = true %}{%- endif %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim }}<|eot_id|>"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN = (
    "{%- set ns = namespace(last=messages|length - 1, seen=[]) %}{% for message in messages[::-1] %}"
    "{% if loop.index0 > 3 %}{% break %}{% endif %}{%- set ns.last = loop.index0 %}{% endfor %}{{ ns.last }}"
    "{% for message in messages %}{{ {'role': message.role, 'é': [message.content]} | tojson(indent=2) }}\n"
    "{% generation %}{{ message.content.split('\n')[0] | upper }}{% endgeneration %}{{ loop.cycle('a', 'b') }}"
    "{% endfor %}{{ range(3) | list }}{{ dict(a=1) }}{{ '%05.2f' % 3.14159 }}{{ tools is none }}{{ eos_token }}"
    "{{ something_undefined }}"
)
MACROS = (
    "{% macro turn(m) %}[{{ m.role }}: {{ m.content | replace('2', 'two') }}]{% endmacro %}"
    "{% for m in messages if m.role != 'system' %}{{ turn(m) }}{% else %}none{% endfor %}   \n   {# a comment #}\n"
    "  {% if add_generation_prompt %}\n  go\n  {% endif %}\n"
)


@pytest.fixture(scope="module")
def tokenizer(published_llada):
    return load_tokenizer(published_llada, "LLaDA-Tiny", vocabulary=ROWS)


def with_template(tokenizer: CheckpointTokenizer, template: str) -> CheckpointTokenizer:
    tokenizer.backend.chat_template = template
    return tokenizer


def by_transformers(tokenizer, messages, *, continue_last=False):
    return tokenizer.backend.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=not continue_last, continue_final_message=continue_last
    )


@pytest.mark.parametrize(
    "messages", [QUESTION, ANSWERED, [{"role": "user", "content": "\ud800 é 漢字 {{ x }} {% y %}"}]]
)
@pytest.mark.parametrize("template", [LLAMA_3, QWEN, MACROS, "", "{{ messages }}", "plain"])
def test_the_text_is_the_one_that_transformers_gives(tokenizer, template, messages):
    tokenizer = with_template(tokenizer, template)
    assert tokenizer.apply_chat_template(messages) == by_transformers(tokenizer, messages)


@pytest.mark.parametrize("template", [LLAMA_3, "{% for m in messages %}<{{ m.content }}>{% endfor %}"])
def test_an_answer_that_stays_open_is_cut_as_transformers_cuts_it(tokenizer, template):
    tokenizer = with_template(tokenizer, template)
    text = tokenizer.apply_chat_template(ANSWERED, continue_last=True)
    assert text == by_transformers(tokenizer, ANSWERED, continue_last=True)
    assert text.rstrip().endswith("4, since")


@given(content=st.text(max_size=80), role=st.sampled_from(["user", "system", "assistant"]))
def test_whatever_a_message_says_is_rendered_as_transformers_does(tokenizer, content, role):
    tokenizer = with_template(tokenizer, LLAMA_3)
    messages = [{"role": role, "content": content}, *QUESTION]
    assert tokenizer.apply_chat_template(messages) == by_transformers(tokenizer, messages)


def test_a_special_token_that_is_no_plain_text_is_shown_as_transformers_shows_it(published_llada, copy_of):
    folder = copy_of(published_llada)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["extra_special_tokens"] = [{"__type": "AddedToken", "content": "<role>", "special": True}]
    path.write_text(json.dumps(config | {"chat_template": "{{ additional_special_tokens }}{{ extra_special_tokens }}"}))
    tokenizer = load_tokenizer(folder, "x", vocabulary=ROWS)
    assert tokenizer.apply_chat_template(QUESTION) == by_transformers(tokenizer, QUESTION)


LOOP = "{% for a in range(99999) %}"
ENDLESS = LOOP * 3 + "{% endfor %}" * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "said"),
    [
        (ENDLESS, "it takes longer than 5 seconds"),
        ("{{ 'x' * 10**10 }}", "it needs more than 2 GiB of memory"),
        ("{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}", "it needs more than 2 GiB of memory"),
        (
            "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
            "it needs more than 2 GiB of memory",
        ),
        ("{{ '%1000000000d' % 1 }}", "it needs more than 2 GiB of memory"),
        ("{{ 'x'.rjust(10**8) }}", "it writes 100,000,000 characters, more than 16,777,216"),
        ("{{ range(10**9) | list }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth exceeded"),
        ("{{ " + "(" * 50_000 + "1 }}", "maximum recursion depth exceeded"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", "is unsafe"),
        ("{% include '/etc/passwd' %}", "no loader for this environment"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[9].content }}", "has no element 9"),
        ("{% while true %}", "unknown tag 'while'"),
        ("{{ raise_exception('two\nlines') }}", "two lines"),
        ("{{ raise_exception('') }}", "TemplateError"),
        ("{{ raise_exception('x' * 100000) }}", "x{300}$"),
    ],
)
def test_a_hostile_template_ends_in_one_sentence_and_the_next_one_is_rendered(template, said):
    with pytest.raises(UntrustedError, match=said) as raised:
        render_template(template, QUESTION, variables={}, continue_last=False)
    assert "\n" not in str(raised.value)
    assert render_template("ok", QUESTION, variables={}, continue_last=False) == "ok"


def test_the_sentence_names_the_model(tokenizer):
    with pytest.raises(UserError, match=r"^The chat template of 'LLaDA-Tiny' fails: division by zero\.$"):
        with_template(tokenizer, "{{ 1 / 0 }}").apply_chat_template(QUESTION)


def test_a_process_that_was_killed_is_said_and_replaced():
    render_template("ok", QUESTION, variables={}, continue_last=False)
    os.kill(untrusted._worker()._process.pid, signal.SIGKILL)
    with pytest.raises(UntrustedError, match="crashes the process that computes it, which ended with status -9"):
        render_template("ok", QUESTION, variables={}, continue_last=False)
    assert render_template("ok", QUESTION, variables={}, continue_last=False) == "ok"


def test_the_process_ends_with_the_one_that_uses_it():
    program = (
        "from harness.models import untrusted; untrusted.matching('a', ['a']); print(untrusted._worker()._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
    assert done.stderr == ""
