#!/usr/bin/env bash
# Makes a folder with Debian's Python for aarch64 and NumPy, as they are on a Raspberry Pi:
#
#   tools/aarch64_python.sh FOLDER
#   qemu-aarch64 -L FOLDER FOLDER/usr/bin/python3.11
#
# Nothing is installed. Needs a Debian machine, pip and the network; some 100 MB.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
packages=("python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" "libpython$version-dev"
  libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libssl3 libuuid1)

# apt with a state of its own: it takes this machine for an empty one of that architecture.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/packages"
touch "$work/status"
cat >"$work/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$work";
Dir::State::status "$work/status";
Dir::Cache "$work";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get --quiet --quiet update
(cd "$work/packages" && apt-get --quiet --quiet download "${packages[@]}")
for package in "$work"/packages/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done

pip download --quiet --no-deps --only-binary :all: --python-version "$version" \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --dest "$work" numpy
python3 -m zipfile --extract "$work"/numpy-*.whl "$folder/usr/lib/python$version"
