#!/bin/bash
# What the transfer image is made of, as SPDX 2.3 JSON: every crate that is linked, and Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
linked=$(cargo tree --locked --package barge-agent --edges normal --target "$target" --prefix none \
    --format '{p}' | sed -E 's/^([^ ]+) v([^ ]+).*/\1 \2/' | LC_ALL=C sort -u | jq -R . | jq -s .)
debian=$(dpkg-query -W -f '${source:Package} ${Package} ${Version}\n' bash-static ca-certificates | jq -R . | jq -s .)
cargo metadata --locked --format-version 1 --filter-platform "$target" | jq \
    --argjson linked "$linked" --argjson debian "$debian" --arg created "$created" '
    def id: "SPDXRef-" + gsub("[^A-Za-z0-9.-]"; "-");
    [.packages[] | select(("\(.name) \(.version)") as $it | $linked | index($it)) | {
        name, versionInfo: .version, SPDXID: ("crate-\(.name)-\(.version)" | id),
        downloadLocation: (.repository // "NOASSERTION"), filesAnalyzed: false,
        licenseConcluded: "NOASSERTION", copyrightText: "NOASSERTION",
        licenseDeclared: ((.license // "NOASSERTION") | gsub("/"; " OR ")),
        externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
            referenceLocator: "pkg:cargo/\(.name)@\(.version)"}]
    }] as $crates
    | [$debian[] | split(" ") | {
        name: .[1], versionInfo: .[2], SPDXID: ("deb-\(.[1])" | id),
        downloadLocation: "NOASSERTION", filesAnalyzed: false,
        licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION",
        externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
            referenceLocator: "pkg:deb/debian/\(.[1])@\(.[2])"}]
    }] as $packages
    | ($crates + $packages) as $all
    | {
        spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
        name: "barge-transfer", creationInfo: {created: $created, creators: ["Tool: barge images/sbom.sh"]},
        documentNamespace: "urn:barge:transfer-image:\($created)",
        packages: $all,
        relationships: [$all[] | {spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES",
            relatedSpdxElement: .SPDXID}]
    }'
