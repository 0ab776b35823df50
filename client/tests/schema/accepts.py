"""Tells which texts a grammar accepts to their end, by llguidance.

    accepts.py gbnf|lark GRAMMAR_FILE < one JSON string a line > true or false a line
"""

import json
import sys

from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

form, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    text = file.read()
lark = gbnf_to_lark(text) if form == "gbnf" else text
tokenizer = LLTokenizer("byte")
grammar = LLMatcher.grammar_from_lark(lark)
is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar, tokenizer)
if is_error or messages:
    sys.exit("\n".join(messages))
matcher = LLMatcher(tokenizer, grammar)
for line in sys.stdin:
    tokens = list(json.loads(line).encode())
    read = matcher.try_consume_tokens(tokens)
    if matcher.is_error():
        sys.exit(matcher.get_error())
    print(json.dumps(read == len(tokens) and matcher.is_accepting()))
    matcher.reset()
