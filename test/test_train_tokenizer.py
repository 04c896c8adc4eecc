"""The tokenizer of a model from nothing."""

from beingh_core.train.tokenizer import build_tokenizer, prompt_phrases


def test_it_writes_any_text_and_keeps_phrases_whole():
    tokenizer = build_tokenizer([*prompt_phrases(16), "pick up the ", "red", " cube"])
    for text in ("pick up the red cube", "Öffne die Schublade, s'il te plaît 你好"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert len(tokenizer.encode("pick up the red cube", add_special_tokens=False).ids) == 3
