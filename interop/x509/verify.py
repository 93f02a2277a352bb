"""A second verdict on Ward's corpus of chains, by the X.509 path validation of Python's `cryptography`.

    verify.py CHAINS DISAGREEMENTS

CHAINS is what the corpus test writes (WARD_X509_OUT). Both implementations see the same anchors, certificates and
time. What FAST Security asks of a leaf beyond RFC 5280 (a URI in the SAN, digitalSignature) is stated here as well,
and the profile of the CA/Browser Forum, which `cryptography` has by default, is laid aside: other names, other
extended key usages and other criticalities are no faults here. Fails on a disagreement that the table DISAGREEMENTS does
not explain, and on a row of it that does not (or no longer) hold.
"""

import base64
import datetime
import json
import sys
import warnings

import cryptography
from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

ANY = Criticality.AGNOSTIC
# That it will refuse to read some certificates one day is no news here.
warnings.simplefilter("ignore", cryptography.utils.CryptographyDeprecationWarning)


def leaf_names(_policy, _certificate, names):
    if not names.get_values_for_type(x509.UniformResourceIdentifier):
        raise ValueError("the certificate names no URI")


def leaf_usage(_policy, _certificate, usage):
    if usage is not None and not usage.digital_signature:
        raise ValueError("the leaf may not sign")


def leaf_constraints(_policy, _certificate, constraints):
    if constraints is not None and constraints.ca:
        raise ValueError("the leaf is an authority")


def authority_constraints(_policy, _certificate, constraints):
    if not constraints.ca:
        raise ValueError("not an authority")


def authority_usage(_policy, _certificate, usage):
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


LEAF = (
    ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, ANY, leaf_names)
    .may_be_present(x509.KeyUsage, ANY, leaf_usage)
    .may_be_present(x509.BasicConstraints, ANY, leaf_constraints)
)
AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, ANY, authority_constraints)
    .may_be_present(x509.KeyUsage, ANY, authority_usage)
)


def verdict(chain, now):
    """`accept`, or why not."""
    try:
        leaf, *rest = [x509.load_der_x509_certificate(base64.b64decode(text)) for text in (chain["leaf"], *chain["extra"])]
        anchors = [x509.load_der_x509_certificate(base64.b64decode(text)) for text in chain["anchors"]]
        # An anchor that a peer sends is as good as one that it does not.
        verifier = (
            PolicyBuilder()
            .store(Store(anchors))
            .time(now)
            .max_chain_depth(6)
            .extension_policies(ca_policy=AUTHORITY, ee_policy=LEAF)
            .build_client_verifier()
        )
        verifier.verify(leaf, rest)
    except (VerificationError, ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
        return f"{type(error).__name__}: {error}"
    return "accept"


def table(path):
    """Name to (Ward, cryptography, why)."""
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#"):
                continue
            name, ward, other, why = line.rstrip("\n").split("\t")
            if name in rows or not why:
                sys.exit(f"{path}: {name} stands twice or without a reason")
            rows[name] = (ward, other)
    return rows


def main():
    chains_path, table_path = sys.argv[1:]
    with open(chains_path, encoding="utf-8") as file:
        corpus = json.load(file)
    now = datetime.datetime.fromtimestamp(corpus["time"], datetime.timezone.utc).replace(tzinfo=None)
    explained = table(table_path)
    agreed, faults = {"accept": 0, "refuse": 0}, []
    for chain in corpus["chains"]:
        name, detail = chain["name"], verdict(chain, now)
        ward = "accept" if chain["verdict"] == "accept" else "refuse"
        other = "accept" if detail == "accept" else "refuse"
        known = explained.pop(name, None)
        if ward == other and known is None:
            agreed[ward] += 1
        elif known != (ward, other):
            faults.append(f"{name}: Ward {chain['verdict']}, cryptography {detail}; the table says {known}")
    faults += [f"{name}: the table names it, but there is no such chain" for name in explained]
    disagreements = len(corpus["chains"]) - sum(agreed.values()) - len(faults)
    print(
        f"{len(corpus['chains'])} chains against cryptography {cryptography.__version__}: both accept {agreed['accept']}, "
        f"both refuse {agreed['refuse']}, {disagreements} disagreements explained, {len(faults)} not"
    )
    if faults:
        sys.exit("\n".join(faults))


main()
