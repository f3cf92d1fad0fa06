#!/usr/bin/env python3
"""Checks CITATION.cff against what the Citation File Format 1.2.0 demands.

    .ci/check_citation.py [FILE]

The schema's own validator is not packaged for Debian, and this runs without a
network.  So it knows the part of YAML that the file uses: keys in column 0
with a value, a folded text, or a list of strings or of flat mappings.  What it
does not know it refuses.
"""
import datetime
import re
import sys
from pathlib import Path

REQUIRED = ["authors", "cff-version", "message", "title"]
KNOWN = set(REQUIRED) | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers",
    "keywords", "license", "license-url", "preferred-citation", "references",
    "repository", "repository-artifact", "repository-code", "type", "url",
    "version"}
PERSON = {"address", "affiliation", "alias", "city", "country", "email",
          "family-names", "fax", "given-names", "name-particle",
          "name-suffix", "orcid", "post-code", "region", "tel", "website"}
ENTITY = {"address", "alias", "city", "country", "date-end", "date-start",
          "email", "fax", "location", "name", "orcid", "post-code", "region",
          "tel", "website"}


class Malformed(Exception):
    """Not the YAML that this reads."""


def scalar(text, where):
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if not text or text[0] in "\"'&*!|>%@`[]{}," or ": " in text \
            or " #" in text:
        raise Malformed(f"{where}: cannot read '{text}'")
    return text


def pair(text, where):
    match = re.match(r"([a-z][a-z0-9-]*):(?: (.*))?$", text)
    if not match:
        raise Malformed(f"{where}: expected 'key: value'")
    return match.group(1), (match.group(2) or "").strip()


def read(text):
    """The file as {key: string, or list of strings and dicts}."""
    data, key, folded = {}, None, False
    for number, line in enumerate(text.split("\n"), 1):
        where = f"line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if "\t" in line:
            raise Malformed(f"{where}: a tab")
        if not line.startswith(" "):
            key, value = pair(line, where)
            if key in data:
                raise Malformed(f"{where}: {key} is there twice")
            folded = value in (">-", ">", "|", "|-")
            data[key] = "" if folded else scalar(value, where) if value else []
        elif folded:
            data[key] = (data[key] + " " + line.strip()).strip()
        elif not isinstance(data.get(key), list):
            raise Malformed(f"{where}: indented, but {key} has a value")
        elif line.startswith("  - "):
            item = line[4:].strip()
            if re.match(r"[a-z][a-z0-9-]*: ", item):
                name, value = pair(item, where)
                data[key].append({name: scalar(value, where)})
            else:
                data[key].append(scalar(item, where))
        elif line.startswith("    ") and data[key] \
                and isinstance(data[key][-1], dict):
            name, value = pair(line.strip(), where)
            data[key][-1][name] = scalar(value, where)
        else:
            raise Malformed(f"{where}: indentation")
    return data


def check_author(author):
    if not isinstance(author, dict):
        return ["authors: each is a person or an entity with keys"]
    allowed = ENTITY if "name" in author else PERSON
    unknown = sorted(set(author) - allowed)
    return [f"authors: unknown key {name}" for name in unknown]


def check(text):
    try:
        data = read(text)
    except Malformed as reason:
        return [str(reason)]
    problems = [f"missing: {key}" for key in REQUIRED if not data.get(key)]
    problems += [f"unknown key: {key}" for key in sorted(set(data) - KNOWN)]
    if data.get("cff-version", "1.2.0") != "1.2.0":
        problems.append("cff-version is not 1.2.0")
    if data.get("type", "software") not in ("software", "dataset"):
        problems.append("type is neither software nor dataset")
    for key in ("title", "message", "version", "license", "abstract"):
        if isinstance(data.get(key), list):
            problems.append(f"{key}: not a string")
    authors = data.get("authors", [])
    if not isinstance(authors, list):
        problems.append("authors: not a list")
    else:
        for author in authors:
            problems += check_author(author)
    keywords = data.get("keywords", [])
    if not isinstance(keywords, list) \
            or any(not isinstance(k, str) for k in keywords) \
            or len(set(keywords)) != len(keywords):
        problems.append("keywords: not a list of different strings")
    if "date-released" in data:
        try:
            date = datetime.date.fromisoformat(data["date-released"])
            if date.isoformat() != data["date-released"]:
                raise ValueError
        except (TypeError, ValueError):
            problems.append("date-released: not a date YYYY-MM-DD")
    for key in ("url", "repository", "repository-code", "license-url"):
        if key in data and not re.match(r"(https?|s?ftp)://\S+$",
                                        str(data[key])):
            problems.append(f"{key}: not a URL")
    return problems


def main(argv):
    root = Path(__file__).resolve().parent.parent
    path = Path(argv[0]) if argv else root / "CITATION.cff"
    try:
        problems = check(path.read_text())
    except OSError as error:
        problems = [error.strerror]
    for problem in problems:
        print(f"{path.name}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{path.name}: valid")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
