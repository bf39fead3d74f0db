"""A stock BitTorrent client: libtorrent, told by lines on standard input, telling by lines of JSON.

usage: client.py TORRENT DIRECTORY CERTIFICATES LISTEN [PEER]
CERTIFICATES is a directory that `dustfs guest` wrote, or '-' for none. Ends when standard input does.
"""

import json
import sys
import threading
import time

import libtorrent as lt


def tell(**said):
    print(json.dumps(said), flush=True)


def main():
    torrent, directory, keys, listen = sys.argv[1:5]
    session = lt.session({
        'listen_interfaces': listen,
        'enable_outgoing_utp': False,
        'enable_incoming_utp': False,
        'enable_dht': False,
        'enable_lsd': False,
        'enable_upnp': False,
        'enable_natpmp': False,
        'alert_mask': lt.alert.category_t.all_categories,
    })
    info = lt.torrent_info(torrent)
    params = lt.add_torrent_params()
    params.ti = info
    params.save_path = directory
    params.flags |= lt.torrent_flags.paused
    params.flags &= ~lt.torrent_flags.auto_managed
    handle = session.add_torrent(params)
    if keys != '-':
        handle.set_ssl_certificate(f'{keys}/guest.crt', f'{keys}/guest.key', f'{keys}/dh.pem', '')
    handle.resume()
    for peer in sys.argv[5:]:
        host, port = peer.rsplit(':', 1)
        handle.connect_peer((host, int(port)))
    tell(version=lt.__version__, name=info.name())
    ended = threading.Event()

    def wait_for_end():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    told = None
    while not ended.is_set():
        for alert in session.pop_alerts():
            words = alert.message()
            if alert.category() & (lt.alert.category_t.error_notification | lt.alert.category_t.tracker_notification):
                tell(alert=alert.what(), words=words)
            elif 'ssl' in words.lower() or 'handshake' in words.lower() or alert.what().startswith('peer_'):
                tell(log=alert.what(), words=words)
        status = handle.status()
        now = dict(state=str(status.state), progress=status.progress, peers=status.num_peers, uploaded=status.total_payload_upload)
        if now != told:
            tell(**now)
            told = now
        time.sleep(0.05)


main()
