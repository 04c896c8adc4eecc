"""Small files of conversations with their pictures."""

import json

import numpy as np
from PIL import Image


def photo(path, number, size=(40, 30), mode="RGB"):
    """A picture whose red tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), (number * 37 % 200 + 20, 90, 160), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def line_of(number, pictures=1, turns=1):
    """A conversation about some pictures; the same every time."""
    said = []
    for turn in range(turns):
        said.append({"from": "human", "value": f"What is number {number} of turn {turn}?"})
        said.append({"from": "gpt", "value": f"It is cube {number}, {'very ' * (number % 5)}red."})
    said[0]["value"] = "<image>\n" * pictures + said[0]["value"]
    names = [f"photos/{number}_{k}.png" for k in range(pictures)]
    return {"image": names[0] if pictures == 1 else names, "conversations": said}


def write_words(root, count=12, pictures=lambda number: number % 3, turns=lambda number: 1 + number % 2):
    """A file of conversations; every third one has no picture, every other one two questions."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        for k in range(pictures(number)):
            photo(root / f"photos/{number}_{k}.png", number * 2 + k)
        lines.append(json.dumps(line_of(number, pictures(number), turns(number))))
    path = root / "words.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path
