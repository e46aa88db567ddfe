#!/usr/bin/env python3
"""Writes what the installed programs are made of: packaging/inventory.py DIRECTORY

  corten.cdx.json           a CycloneDX list of every crate with its version, licence and checksum
  THIRD-PARTY-LICENSES.txt  the licence texts of all of them

Of the lock file and the sources that cargo has fetched; the same bytes for the same tree.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ["corten", "corten-oci", "shim", "pause", "cni"]
TEXT = re.compile(r"^(licen[sc]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Sources of others that lie within a crate.
WITHIN = {"zstd-sys": ["zstd"], "ring": ["third_party/fiat"]}


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300).stdout


def metadata():
    machine = os.uname().machine
    return json.loads(run("cargo", "metadata", "--locked", "--format-version", "1",
                          "--filter-platform", f"{machine}-unknown-linux-gnu"))


def reached(meta):
    """Packages that normal dependencies lead to from the programs, and the edges between them."""
    names = {package["id"]: package["name"] for package in meta["packages"]}
    members = set(meta["workspace_members"])
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    todo = [member for member in members if names[member] in PROGRAMS]
    edges = {}
    while todo:
        at = todo.pop()
        if at in edges:
            continue
        edges[at] = sorted(dep["pkg"] for dep in nodes[at]["deps"]
                           if any(kind["kind"] is None for kind in dep["dep_kinds"]))
        todo.extend(edges[at])
    return edges


def texts_of(package):
    """The licence texts that a crate brings, without blank ends."""
    top = os.path.dirname(package["manifest_path"])
    found = []
    for below in ["", *WITHIN.get(package["name"], [])]:
        directory = os.path.join(top, below)
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            path = os.path.join(directory, name)
            if TEXT.match(name) and os.path.isfile(path) and not name.endswith((".rs", ".py")):
                with open(path, encoding="utf-8", errors="replace") as file:
                    found.append(file.read().strip())
    return found


def checksums():
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        lock = tomllib.load(file)
    return {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}


def reference(package, ours):
    kind = "" if not ours else "?vcs=corten"
    return f"pkg:cargo/{package['name']}@{package['version']}{kind}"


def bill(packages, edges, sums):
    """The CycloneDX document."""
    ours = {key for key, package in packages.items() if package["source"] is None}
    refs = {key: reference(package, key in ours) for key, package in packages.items()}
    version = next(package["version"] for package in packages.values() if package["name"] == "corten")
    top = {"type": "application", "bom-ref": f"corten@{version}", "name": "corten", "version": version,
           "licenses": [{"expression": "Apache-2.0"}]}
    components = []
    for key in sorted(packages, key=lambda key: refs[key]):
        package = packages[key]
        entry = {"type": "library", "bom-ref": refs[key], "name": package["name"], "version": package["version"]}
        if package["license"]:
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if sums.get((package["name"], package["version"])):
            entry["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        if key not in ours:
            entry["purl"] = refs[key]
        components.append(entry)
    depends = [{"ref": refs[key], "dependsOn": sorted(refs[to] for to in edges[key])} for key in edges]
    programs = sorted(refs[key] for key in ours if packages[key]["name"] in PROGRAMS)
    depends.append({"ref": top["bom-ref"], "dependsOn": programs})
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
                "metadata": {"component": top}, "components": components,
                "dependencies": sorted(depends, key=lambda entry: entry["ref"])}
    # A name for what is in it, and not for when it was written.
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, digest).urn
    return document


def licences(packages, standard):
    """One section a text, with the crates that have it."""
    users = {}
    for package in packages.values():
        if package["source"] is None and not package["manifest_path"].startswith(os.path.join(ROOT, "vendor")):
            continue
        name = f"{package['name']} {package['version']} ({package['license']})"
        texts = texts_of(package)
        if not texts:
            authors = ", ".join(package["authors"]) or f"the authors of {package['name']}"
            texts = [f"The crate brings no text. It is of {authors}, and its licence is {package['license']}:\n"
                     f"{package['repository'] or 'https://crates.io/crates/' + package['name']}"]
        for text in texts:
            users.setdefault(text, []).append(name)
    for name, path in standard:
        with open(path, encoding="utf-8") as file:
            users.setdefault(file.read().strip(), []).append(name)
    rule = "=" * 100
    head = "Corten's programs contain the following works of others, under the licences below.\n"
    parts = [f"{rule}\n{', '.join(sorted(names))}\n{rule}\n\n{text}\n"
             for text, names in sorted(users.items(), key=lambda item: (sorted(item[1])[0].lower(), item[0]))]
    return "\n".join([head, *parts])


def standard_library():
    """The licences of Rust's standard library, as the toolchain brings them."""
    sysroot = run("rustc", "--print", "sysroot").decode().strip()
    release = re.search(r"release: (.*)", run("rustc", "-vV").decode()).group(1)
    texts = []
    for below in ["share/doc/rust", "share/doc/rust/html"]:
        for name in ["COPYRIGHT", "COPYRIGHT-library.html", "LICENSE-APACHE", "LICENSE-MIT"]:
            path = os.path.join(sysroot, below, name)
            if os.path.isfile(path):
                texts.append((f"Rust's standard library {release}", path))
    return texts


def main():
    directory = sys.argv[1]
    meta = metadata()
    edges = reached(meta)
    packages = {package["id"]: package for package in meta["packages"] if package["id"] in edges}
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "corten.cdx.json"), "w", encoding="utf-8") as file:
        json.dump(bill(packages, edges, checksums()), file, indent=1)
        file.write("\n")
    text = licences(packages, standard_library())
    with open(os.path.join(directory, "THIRD-PARTY-LICENSES.txt"), "w", encoding="utf-8") as file:
        file.write(text)
    print(f"inventory: {len(packages)} crates in {directory}")


if __name__ == "__main__":
    main()
