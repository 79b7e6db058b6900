#!/usr/bin/env bash
# A Debian package of `rift-runtime`, with ONNX Runtime in it, in target/debian.
# What it is built from: the program in target/release (or PROGRAM) and the wheel in .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in dpkg-deb dpkg objdump python3; do
    command -v $tool >/dev/null || {
        echo "error: $tool is missing: on Debian and Ubuntu 'apt install dpkg binutils python3'" >&2
        exit 2
    }
done
program=${PROGRAM:-target/dist/rift-runtime}
wheel=$(echo .venv/lib/python3*/site-packages/onnxruntime)
library=$(echo "$wheel"/capi/libonnxruntime.so.*)
for file in "$program" "$library"; do
    [ -f "$file" ] || { echo "error: cannot find \`$file\`: run 'make deb'" >&2; exit 2; }
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
doc=$root/usr/share/doc/rift-runtime

install -D -m 755 "$program" "$root/usr/bin/rift-runtime"
install -D -m 644 -t "$root/usr/lib/rift" "$library"
install -D -m 644 -t "$root/usr/lib/systemd/system" packaging/rift-runtime.service
install -D -m 644 packaging/debian/default "$root/etc/default/rift-runtime"
install -d -m 755 "$root/var/lib/rift/models" "$root/usr/share/rift"
cp -r models/zoo "$root/usr/share/rift/zoo"
install -D -m 644 -t "$doc" packaging/debian/copyright LICENSE-MIT LICENSE-APACHE docs/serving.md \
    docs/deploy.md docs/threats.md
install -m 644 "$wheel/LICENSE" "$doc/LICENSE.onnxruntime"
gzip -9n <"$wheel/ThirdPartyNotices.txt" >"$doc/ThirdPartyNotices.onnxruntime.gz"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
python3 packaging/notices.py rift-runtime | gzip -9n >"$doc/notices.gz"

# The newest of a library's versions that the two files ask for.
newest() {
    objdump -T "$root/usr/bin/rift-runtime" "$root"/usr/lib/rift/* |
        grep -o "(\?$1_[0-9.]*)\?" | tr -d '()' | sed "s/$1_//" | sort -uV | tail -n 1
}
install -d "$root/DEBIAN"
install -m 755 -t "$root/DEBIAN" packaging/debian/{postinst,prerm,postrm}
echo /etc/default/rift-runtime >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: rift-runtime
Version: $version
Architecture: $architecture
Maintainer: ${DEBEMAIL:-The Rift maintainers <rift@localhost>}
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= $(newest GLIBC)), libstdc++6, libgcc-s1
Section: science
Priority: optional
Description: inference server for image classifiers that audits itself
 rift-runtime serves ONNX classifiers of images over the Open Inference Protocol
 (KServe V2), and attacks the very file that it serves to say how robust it is.
 ONNX Runtime's library is part of the package.
CONTROL
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$root/DEBIAN/md5sums"

mkdir -p target/debian
package=target/debian/rift-runtime_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package: $(stat -c %s "$package") bytes; the program $(stat -c %s "$root/usr/bin/rift-runtime")," \
    "ONNX Runtime $(stat -c %s "$root"/usr/lib/rift/*)"
