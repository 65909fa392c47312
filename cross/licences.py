#!/usr/bin/env python3
"""licences.py FOLDER: what the program is made of.

Writes FOLDER/THIRD-PARTY.txt (every crate with its licence and the texts that it ships) and
FOLDER/sbom.cdx.json (CycloneDX 1.5), from `cargo metadata` of the locked default build without
tests. Fails on a licence that is not in ALLOWED: somebody must look at it first.
"""

import json
import pathlib
import re
import subprocess
import sys

# What may be linked into a program that is offered under Apache-2.0 OR MIT.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "IJG", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
    "Apache-2.0 WITH LLVM-exception", "BlueOak-1.0.0",
}


def may_be_used(expression: str) -> bool:
    """Reads an SPDX expression: AND needs all of its sides, OR one of them."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def any_of() -> bool:
        good = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            good = all_of() or good
        return good

    def all_of() -> bool:
        good = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            good = one() and good
        return good

    def one() -> bool:
        token = tokens.pop(0)
        if token == "(":
            good = any_of()
            tokens.pop(0)
            return good
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in ALLOWED

    return any_of()


def linked(metadata: dict) -> list[dict]:
    """The packages that a normal build links or runs while building, without dev-dependencies."""
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, todo = {root}, [root]
    while todo:
        for dep in nodes[todo.pop()]["deps"]:
            kinds = {k["kind"] for k in dep["dep_kinds"]}
            if kinds - {"dev"} and dep["pkg"] not in seen:
                seen.add(dep["pkg"])
                todo.append(dep["pkg"])
    return sorted((packages[i] for i in seen if i != root), key=lambda p: (p["name"], p["version"]))


def texts(package: dict) -> list[str]:
    folder = pathlib.Path(package["manifest_path"]).parent
    names = re.compile(r"^(LICEN[CS]E|COPYING|NOTICE|UNLICENSE)", re.IGNORECASE)
    files = sorted(f for f in folder.iterdir() if f.is_file() and names.match(f.name))
    return [f.read_text("utf-8", errors="replace").strip() for f in files]


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    command = ["cargo", "metadata", "--format-version=1", "--locked",
               "--filter-platform=aarch64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = linked(metadata)
    bad = [f"{p['name']} {p['version']}: {p['license']}" for p in packages
           if not p["license"] or not may_be_used(p["license"])]
    if bad:
        print("licences that nobody has allowed yet (cross/licences.py):", *bad, sep="\n  ")
        return 1
    root = next(p for p in metadata["packages"] if p["id"] == metadata["resolve"]["root"])
    # Many crates ship the same text: it is printed once, and named by a number.
    known: dict[str, int] = {}
    lines = [f"posewire {root['version']} is made of these crates.", ""]
    for package in packages:
        numbers = [known.setdefault(" ".join(t.split()), len(known) + 1) for t in texts(package)]
        where = f"  texts {', '.join(map(str, numbers))}" if numbers else ""
        lines.append(f"{package['name']} {package['version']}  {package['license']}{where}")
    whole: dict[int, str] = {}
    for package in packages:
        for text in texts(package):
            whole.setdefault(known[" ".join(text.split())], text)
    for number in sorted(whole):
        lines += ["", f"--- text {number} " + "-" * 60, "", whole[number]]
    (folder / "THIRD-PARTY.txt").write_text("\n".join(lines) + "\n", "utf-8")
    components = [{
        "type": "library",
        "name": p["name"],
        "version": p["version"],
        "purl": f"pkg:cargo/{p['name']}@{p['version']}",
        "licenses": [{"expression": p["license"].replace("/", " OR ")}],
    } for p in packages]
    sbom = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": "posewire",
                                   "version": root["version"]}},
        "components": components,
    }
    (folder / "sbom.cdx.json").write_text(json.dumps(sbom, indent=1) + "\n", "utf-8")
    print(f"{len(packages)} crates, {len(known)} licence texts, all allowed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
