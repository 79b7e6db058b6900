"""Other people's programs on what `rift-exporter` says of a bundle: OpenSSF model signing, CycloneDX,
JSON Schema, the Hugging Face hub and securesystemslib.

    tests/peers/setup.sh evidence
    .peers-evidence/bin/python tests/peers/evidence.py documents BUNDLE
    .peers-evidence/bin/python tests/peers/evidence.py flips BUNDLE SIGNATURE PUBLIC_KEY
    .peers-evidence/bin/python tests/peers/evidence.py statement AUDIT.intoto.json PUBLIC_KEY
    .peers-evidence/bin/python tests/peers/evidence.py golden FOLDER

`documents` holds the bill of materials, the card and the head of the model card against their schemas,
`flips` wants a signature to hold and to fail after one flipped byte in any file, `statement` verifies a
signed audit, and `golden` makes the signed model that the tests of the exporter read. The exit code is 1
where something does not hold.
"""

import json
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def documents(bundle):
    import jsonschema
    import yaml
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from huggingface_hub import ModelCard

    bundle = Path(bundle)
    card = json.loads((bundle / "card.json").read_text())
    schema = json.loads((TOP / "docs/schema/card.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(card, schema, jsonschema.Draft202012Validator)

    error = JsonStrictValidator(SchemaVersion.V1_7).validate_str((bundle / "bom.cdx.json").read_text())
    assert error is None, error

    text = (bundle / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["pipeline_tag"] == "image-classification", head
    results = ModelCard(text).data.eval_results or []
    found = [(r.metric_type, r.metric_value, (r.metric_args or {}).get("eps")) for r in results]
    names = {"clean": "accuracy", "robust": "robust_accuracy"}
    expected = [
        (names[m["name"]], m["accuracy"]["fraction"], m.get("attack", {}).get("eps"))
        for m in card["metrics"]
    ]
    assert found == expected, (found, expected)
    print(f"{bundle}: card, bill of materials and {len(found)} results of the hub hold")


def verify(bundle, signature, key):
    """Whether the signature holds."""
    from model_signing import hashing, verifying

    settings = hashing.Config().set_ignored_paths(paths=[Path(signature).name])
    config = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(settings)
    try:
        config.verify(bundle, signature)
    except ValueError:
        return False
    return True


def flips(bundle, signature, key):
    assert verify(bundle, signature, key), "the signature does not hold"
    files = [f for f in sorted(Path(bundle).rglob("*")) if f.is_file() and f.name != "model.sig"]
    assert files, "no file"
    for file in files:
        good = file.read_bytes()
        for at in {0, len(good) // 2, len(good) - 1}:
            bad = bytearray(good)
            bad[at] ^= 1
            file.write_bytes(bad)
            assert not verify(bundle, signature, key), f"{file} with another byte {at} is accepted"
        file.write_bytes(good)
    assert verify(bundle, signature, key), "the signature does not hold any more"
    print(f"{bundle}: the signature holds, and fails with a flipped byte in each of {len(files)} files")


def statement(file, key):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    data = json.loads(Path(file).read_text())
    public = load_pem_public_key(Path(key).read_bytes())
    keyid = data["signatures"][0]["keyid"]
    key = SSlibKey.from_crypto(public, keyid=keyid)
    envelope = Envelope.from_dict(data)
    envelope.verify([key], 1)
    said = json.loads(envelope.payload)
    assert said["_type"] == "https://in-toto.io/Statement/v1", said["_type"]
    print(f"{file}: holds, {said['predicateType']} of {[s['name'] for s in said['subject']]}")


def golden(folder):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import hashing, signing

    folder = Path(folder)
    model = folder / "model"
    contents = {
        "weights.bin": bytes(range(256)),
        "empty": b"",
        "nested/deeper/a": b"a",
        # After `nested` by parts of the path, before it by bytes.
        "nested-2/b": b"b",
        "größe.txt": b"name",
    }
    for name, content in contents.items():
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    private = ec.generate_private_key(ec.SECP256R1())
    secret = folder / "secret.pem"
    pem, kinds = serialization.Encoding.PEM, serialization
    secret.write_bytes(
        private.private_bytes(pem, kinds.PrivateFormat.PKCS8, kinds.NoEncryption())
    )
    public = private.public_key().public_bytes(pem, kinds.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    # Of the folder, and of a single file.
    for signed, signature in [(model, model / "model.sig"), (model / "weights.bin", folder / "file.sig")]:
        settings = hashing.Config().set_ignored_paths(paths=["model.sig"])
        config = signing.Config().use_elliptic_key_signer(private_key=secret)
        config.set_hashing_config(settings).sign(signed, signature)
    secret.unlink()


def main():
    commands = {f.__name__: f for f in (documents, flips, statement, golden)}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
