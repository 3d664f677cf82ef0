"""Selectors against an evaluator that knows nothing of them but their text, and what is wrong with malformed ones."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.model.selector import (
    All,
    And,
    Contains,
    EndsWith,
    Equal,
    Global,
    Has,
    In,
    Not,
    NotIn,
    Or,
    Selector,
    StartsWith,
    Unequal,
    parse,
)

_KEYS = ("app", "role", "in", "not", "has", "com.example/tier", "projectcalico.org/namespace")
_VALUES = ("", "web", "web-1", "db", 'say "hi"', "it's", "all()")
_key, _value = st.sampled_from(_KEYS), st.sampled_from(_VALUES)
_values = st.frozensets(_value, max_size=3)
_comparisons = st.sampled_from((Equal, Unequal, Contains, StartsWith, EndsWith))
_leaves: st.SearchStrategy[Selector] = st.one_of(
    st.just(All()),
    st.just(Global()),
    st.builds(Has, _key),
    st.builds(lambda kind, key, value: kind(key, value), _comparisons, _key, _value),
    st.builds(In, _key, _values),
    st.builds(NotIn, _key, _values),
)
selectors = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
labels = st.dictionaries(_key, _value, max_size=4)


def naive(text: str, labels: dict[str, str]) -> bool:
    """By writing the text anew as an expression of Python's: each leaf as what it comes to."""
    string = r"(?:\"[^\"]*\"|'[^']*')"
    leaf = re.compile(
        rf"has\( *([\w./-]+) *\)|(all|global)\( *\)"
        rf"|([\w./-]+) +(==|!=|contains|starts with|ends with) +({string})"
        rf"|([\w./-]+) +(in|not in) +\{{((?:[^\"'}}]|{string})*)\}}"
    )

    def value(match: re.Match[str]) -> str:
        has, call, key, operator, operand, member, within, values = match.groups()
        if has:
            found = has in labels
        elif call:
            found = call == "all" or "projectcalico.org/namespace" not in labels
        elif key:
            had, wanted = labels.get(key), operand[1:-1]
            found = {
                "==": had == wanted,
                "!=": had != wanted,
                "contains": had is not None and wanted in had,
                "starts with": had is not None and had.startswith(wanted),
                "ends with": had is not None and had.endswith(wanted),
            }[operator]
        else:
            among = labels.get(member) in [one[1:-1] for one in re.findall(string, values)]
            found = among == (within == "in")
        return f" {found} "

    python = leaf.sub(value, text).replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    return bool(eval(python))


@given(selectors, labels)
def test_it_says_what_its_text_says(selector, labels):
    assert selector.matches(labels) == naive(str(selector), labels)


@given(selectors)
def test_what_is_printed_is_read_back(selector):
    assert parse(str(selector)) == selector


@given(st.text(alphabet="ab!=&|(){},'\" \ninothscle", max_size=25))
def test_nothing_else_than_our_error_comes_of_any_text(text):
    try:
        found = parse(text)
    except InvalidArgument:
        return
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", All()),
        (" \n ", All()),
        ("a=='b'&&!c!='d'", And((Equal("a", "b"), Not(Unequal("c", "d"))))),
        ("a == 'x' || b == 'x' && c == 'x'", Or((Equal("a", "x"), And((Equal("b", "x"), Equal("c", "x")))))),
        ("(a == 'x' || b == 'x') && has( c )", And((Or((Equal("a", "x"), Equal("b", "x"))), Has("c")))),
        ("!!a contains 'b'", Contains("a", "b")),
        ("a in {\"x\",'y',}", In("a", frozenset("xy"))),
        ("a notin {}", NotIn("a", frozenset())),
        ("in starts   with 'i'", StartsWith("in", "i")),
        ("all == 'x'", Equal("all", "x")),
    ],
)
def test_the_grammar(text, means):
    assert parse(text) == means


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a == b", "expected a string in quotes at 'b' (character 6)"),
        ("a = 'b'", "after the label a at \"= 'b'\" (character 3)"),
        ("(a == 'b'", "expected ) at its end"),
        ("a == 'b", 'expected a string in quotes at "\'b"'),
        ("a == 'b' has(c)", "expected &&, || or the end at 'has(c)'"),
        ("a in 'b'", "expected { at"),
        ("a in {'b' 'c'}", "expected , at"),
        ("&& a == 'b'", "expected a label"),
        ("(" * 1000, "parentheses in each other"),
        ("!" * 5000, "longer than 4096 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, says):
    with pytest.raises(InvalidArgument) as refusal:
        parse(text)
    assert says in str(refusal.value)
