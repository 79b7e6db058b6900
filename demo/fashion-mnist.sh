#!/usr/bin/env bash
# Prints a folder with Fashion-MNIST's four files, fetching them first where need be: from Debian's
# package, without root, or from their official address. Their contents are checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=data/fashion-mnist
files=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
package=dataset-fashion-mnist
address=http://fashion-mnist.s3-website.eu-central-1.amazonaws.com

# SHA-256 of the contents, unpacked: the package and the official files are compressed differently.
declare -A sha256=(
    [train-images-idx3-ubyte]=c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
    [train-labels-idx1-ubyte]=bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
    [t10k-images-idx3-ubyte]=5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
    [t10k-labels-idx1-ubyte]=0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
)

say() { echo "fashion-mnist: $*" >&2; }

# Whether a folder holds all four files with the right contents.
is_right() {
    local file sum
    for file in "${files[@]}"; do
        [ -f "$1/$file.gz" ] || return 1
        sum=$(gzip -dc "$1/$file.gz" 2>/dev/null | sha256sum | cut -d' ' -f1)
        if [ "$sum" != "${sha256[$file]}" ]; then
            say "$1/$file.gz is not what it should be: SHA-256 $sum, expected ${sha256[$file]}"
            return 1
        fi
    done
}

from_package() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "fetching the package $package"
    local lists=$PWD/$1/lists
    local own=(-o "Dir::State::Lists=$lists" -o "Dir::Cache=$PWD/$1" -o APT::Sandbox::User=root)
    (
        cd "$1"
        # Where the machine's own list of packages is missing or old, a private one does, without root.
        apt-get -qq -o APT::Sandbox::User=root download $package 2>/dev/null || {
            mkdir -p "$lists/partial" archives/partial
            apt-get -qq "${own[@]}" update && apt-get -qq "${own[@]}" download $package
        } && dpkg-deb -x $package*.deb package
    ) >&2 || return 1
    mv "$1"/package/usr/share/datasets/fashion-mnist/*.gz "$1"
}

from_address() {
    command -v curl >/dev/null || return 1
    say "fetching $address"
    local file
    for file in "${files[@]}"; do
        curl --silent --show-error --fail --location --connect-timeout 20 \
            --output "$1/$file.gz" "$address/$file.gz" || return 1
    done
}

for have in "$folder" /usr/share/datasets/fashion-mnist; do
    if is_right "$have"; then
        echo "$have"
        exit 0
    fi
done

mkdir -p data
staging=$(mktemp -d data/.fetching-XXXXXX)
trap 'rm -rf "$staging"' EXIT
for source in from_package from_address; do
    mkdir "$staging/$source"
    if $source "$staging/$source" && is_right "$staging/$source"; then
        mkdir -p "$folder"
        for file in "${files[@]}"; do mv "$staging/$source/$file.gz" "$folder"; done
        echo "$folder"
        exit 0
    fi
done
say "error: no copy can be had: neither the Debian package $package nor \
$address. Put the four .gz files into $folder, name images of your own by 'make demo DATA=PATH', or \
run on made-up images: make demo DATA=synthetic:10x1x28x28,train=20000,test=2000"
exit 2
