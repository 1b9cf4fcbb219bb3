# Starts systemd-resolved, whose path is the second argument, with a file of options.
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/resolved.conf.d
cp "$1" /run/systemd/resolved.conf.d/options.conf
for file in passwd group; do
    cp "/etc/$file" "/run/$file"
    mount --bind "/run/$file" "/etc/$file"
done
grep -q ^systemd-resolve: /etc/passwd ||
    echo systemd-resolve:x:990:990::/:/usr/sbin/nologin >>/run/passwd
grep -q ^systemd-resolve: /etc/group || echo systemd-resolve:x:990: >>/run/group
exec "$2"
