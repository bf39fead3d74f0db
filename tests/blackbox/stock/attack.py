"""Strangers at a node's listener: each tries in its own way to be taken for a stock client.

usage: attack.py HOST PORT INFOHASH OTHERHASH CERTIFICATES WORK; the root's seed comes as hex on standard input.
Prints a line of JSON for each: its name, and how many bytes it was sent inside TLS.
"""

import json
import socket
import ssl
import subprocess
import sys
import time

host, port, info_hash, other_hash, keys, work = sys.argv[1:7]
seed = bytes.fromhex(sys.stdin.read().strip())

NAMED = 'subjectAltName=DNS:*\nextendedKeyUsage=clientAuth,serverAuth\nbasicConstraints=critical,CA:FALSE\n'


def openssl(*arguments, stdin=None):
    subprocess.run(['openssl', *arguments], input=stdin, check=True, capture_output=True)


def leaf(name, root, key, extensions=NAMED):
    """A certificate for a key, issued by a root: both name files without their endings."""
    with open(f'{work}/{name}.ext', 'w') as file:
        file.write(extensions)
    openssl('req', '-new', '-key', key, '-subj', '/CN=guest', '-out', f'{work}/{name}.csr')
    openssl('x509', '-req', '-in', f'{work}/{name}.csr', '-CA', f'{root}.crt', '-CAkey', f'{root}.key', '-days', '9',
            '-set_serial', '7', '-extfile', f'{work}/{name}.ext', '-out', f'{work}/{name}.crt')
    return f'{work}/{name}.crt', key


def handshake(info_hash):
    return b'\x13BitTorrent protocol\0\0\0\0\0\x10\0\4' + bytes.fromhex(info_hash) + b'-XX0000-abcdefghijkl'


def attack(name, certificate, sni, words, alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols([alpn])
    got = b''
    try:
        with socket.create_connection((host, int(port)), timeout=15) as plain:
            with context.wrap_socket(plain, server_hostname=sni) as stream:
                stream.sendall(words)
                while True:
                    some = stream.recv(4096)
                    if not some:
                        break
                    got += some
        how = 'closed'
    except OSError as error:
        how = str(error)
    print(json.dumps({'name': name, 'bytes': len(got), 'how': how}), flush=True)
    # The node tells a few refusals each second in full.
    time.sleep(0.4)


openssl('pkey', '-inform', 'DER', '-out', f'{work}/root.key', stdin=bytes.fromhex('302e020100300506032b657004220420') + seed)
openssl('genpkey', '-algorithm', 'ED25519', '-out', f'{work}/strange.key')
openssl('req', '-x509', '-new', '-key', f'{work}/strange.key', '-subj', '/CN=root', '-days', '9', '-out', f'{work}/strange.crt')
openssl('genpkey', '-algorithm', 'ED25519', '-out', f'{work}/unknown.key')
guest = (f'{keys}/guest.crt', f'{keys}/guest.key')
theirs = leaf('theirs', f'{work}/strange', guest[1])
elsewhere = leaf('elsewhere', f'{work}/root', guest[1], NAMED.replace('*', 'elsewhere'))
unknown = leaf('unknown', f'{work}/root', f'{work}/unknown.key')

right = handshake(info_hash)
attack('no certificate', None, info_hash, right)
attack('another root', theirs, info_hash, right)
attack('right root, wrong name', elsewhere, info_hash, right)
attack('right root, unknown key', unknown, info_hash, right)
attack('wrong SNI', guest, 'f' * 40, right)
attack('missing SNI', guest, None, right)
attack('another torrent than in SNI', guest, info_hash, handshake(other_hash))
attack('garbage', guest, info_hash, bytes(range(100)))
attack('garbage to the tracker', guest, 'localhost', b'\0' * 5000)
attack('the right one', guest, info_hash, right + b'\0\0\0\x01\x02' + b'\xff' * 4)
