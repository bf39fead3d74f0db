// The page of a box: its files, its friends, and how it is. What comes from outside is only ever shown as text.
(function () {
  'use strict';

  var PICTURES = /\.(jpe?g|png|gif|webp|avif|heic|bmp)$/i;
  var FILMS = /\.(mp4|m4v|webm|mov)$/i;
  var SOUNDS = /\.(mp3|m4a|ogg|opus|flac|wav)$/i;
  var EVERY = 3000;

  // --- the browser

  function get(id) { return document.getElementById(id); }

  function make(kind, name, text) {
    var made = document.createElement(kind);
    if (name) { made.className = name; }
    if (text !== undefined && text !== null) { made.textContent = text; }
    return made;
  }

  function add(parent) {
    for (var at = 1; at < arguments.length; at++) { parent.appendChild(arguments[at]); }
    return parent;
  }

  function clear(node) {
    while (node.firstChild) { node.removeChild(node.firstChild); }
    return node;
  }

  function button(text, name, act) {
    var made = make('button', name, text);
    made.type = 'button';
    made.onclick = act;
    return made;
  }

  function request(method, url, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, url);
    if (method === 'POST') { xhr.setRequestHeader('Content-Type', 'application/json'); }
    xhr.timeout = 150000;
    xhr.onload = function () { answered(xhr, done); };
    xhr.onerror = xhr.ontimeout = function () { done('The box does not answer.', null, 0); };
    xhr.send(body ? JSON.stringify(body) : method === 'POST' ? '{}' : null);
    return xhr;
  }

  // Tells `done` what went wrong in words, or the answer.
  function answered(xhr, done) {
    var answer = null;
    try { answer = JSON.parse(xhr.responseText); } catch (broken) { answer = null; }
    // Signed out, or locked: the page that is there now says it.
    if (xhr.status === 401 || xhr.status === 423) { location.reload(); }
    if (xhr.status >= 200 && xhr.status < 300) { return done(null, answer, xhr.status); }
    var words = answer && answer.error ? answer.error : 'the box answered with ' + xhr.status;
    if (answer && answer.remedy) { words += ': ' + answer.remedy; }
    done(words.charAt(0).toUpperCase() + words.slice(1) + '.', null, xhr.status);
  }

  var noticed;
  function notice(words) {
    get('notice').textContent = words || '';
    get('notice').hidden = !words;
    clearTimeout(noticed);
    if (words) {
      window.scrollTo(0, 0);
      noticed = setTimeout(function () { notice(''); }, 10000);
    }
  }

  // --- numbers for people

  function size(bytes) {
    var units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
    var at = 0;
    while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
    if (at === 0) { return count(Math.round(bytes), 'byte', 'bytes'); }
    return (bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)) + ' ' + units[at];
  }

  function time(seconds) {
    if (seconds < 90) { return Math.round(seconds) + ' s'; }
    if (seconds < 5400) { return Math.round(seconds / 60) + ' min'; }
    if (seconds < 172800) { return Math.round(seconds / 3600) + ' h'; }
    return Math.round(seconds / 86400) + ' days';
  }

  function day(ms) {
    return ms > 0 ? new Date(ms).toLocaleDateString() : '';
  }

  function count(number, one, many) { return number + ' ' + (number === 1 ? one : many); }

  // --- the box

  var status = null;

  function light(told) {
    var words = told.led ? told.led.charAt(0).toUpperCase() + told.led.slice(1) : null;
    var wanted = 0;
    var online = 0;
    told.circles.forEach(function (circle) {
      wanted += circle.wanted_torrents;
      online = Math.max(online, circle.online);
    });
    var asks = ['window', 'exchanging', 'code', 'joining', 'choose'].indexOf(told.pairing.state) >= 0;
    if (told.problems.length) { return ['wrong', words || told.problems[0]]; }
    if (told.held.length) { return ['wrong', words || 'Much was deleted or overwritten at once: was it meant?']; }
    if (asks) { return ['ask', words || pairingWords(told.pairing)]; }
    if (told.state === 'locked') { return ['ask', words || 'Locked: it waits for its passphrase']; }
    if (told.disks.some(function (disk) { return !disk.answered; })) { return ['ask', words || 'A disk with files of its owner: import them?']; }
    if (wanted) { return ['busy', (words || 'Ready') + ', fetching ' + count(wanted, 'file', 'files')]; }
    if (told.state === 'cache') { return ['good', words || 'A cache: it stores what it cannot read']; }
    var alone = told.circles.every(function (circle) { return circle.members < 2; });
    if (alone) { return ['good', words || 'Ready, not paired with a friend yet']; }
    return ['good', words || 'Ready, ' + (online ? count(online, 'friend', 'friends') + ' online' : 'no friend is online')];
  }

  function showStatus(told) {
    status = told;
    var shown = light(told);
    get('led').className = 'led ' + shown[0];
    get('name').textContent = document.title = told.name;
    get('state').textContent = shown[1];
    showPairing(told.pairing);
    showTools();
    if (tab === 'box') { showBox(told); showPassphrase(told); showSheet(told); }
    if (tab === 'friends') { showCircles(told); }
  }

  function pairingWords(pairing) {
    var friend = pairing.friend ? '\u201c' + pairing.friend + '\u201d' : 'the other box';
    switch (pairing.state) {
      case 'window': return 'Looking for a friend\u2019s box: press its button as well.';
      case 'overlap': return 'More than two boxes were pressed, so all of them gave up. Wait a little, and press two.';
      case 'exchanging': return 'Found a box, and agreeing on a code.';
      case 'code': return pairing.confirmed_here ? 'Confirmed here. Now ' + friend + ' has to confirm.' :
        'Compare this code with the one of ' + friend + '. If they are the same, and once the light has blinked all of it, hold the button of this box for 2 to 4 seconds.';
      case 'joining': return 'Joining ' + friend + '.';
      case 'done': return 'Paired with ' + friend + ': both are in ' + pairing.circle + ' now.';
      case 'failed': return 'Pairing came to nothing: ' + (pairing.why || 'try again') + '.';
      case 'paused': return 'Pairing failed too often, and rests for a while.';
      case 'choose': return 'Both boxes are in circles already. Make an invite here and paste it there, or the other way round.';
      default: return '';
    }
  }

  function showPairing(pairing) {
    var words = pairing ? pairingWords(pairing) : '';
    if (words && pairing.seconds_left) { words += ' (' + time(pairing.seconds_left) + ')'; }
    // It waits for the person, wherever on the page they are.
    if (words && get('pairing').hidden) { window.scrollTo(0, 0); }
    get('pairing').hidden = !words;
    get('pairing-words').textContent = words;
    get('pairing-code').textContent = (pairing && pairing.code) || '';
    get('pairing-code').hidden = !(pairing && pairing.code);
  }

  function facts(list, pairs) {
    clear(list);
    pairs.forEach(function (pair) {
      if (pair[1]) { add(list, make('dt', '', pair[0]), make('dd', '', pair[1])); }
    });
  }

  function settle(change, undo) {
    request('POST', '/v1/held', { id: change.id, undo: undo }, function (wrong, answer) {
      notice(wrong || (undo ? 'Back: ' + count(answer.restored, 'file', 'files') + '.' : 'What it replaced goes with time.'));
      refresh();
    });
  }

  function showHeld(changes) {
    var list = clear(get('held'));
    changes.forEach(function (change) {
      var words = 'Within a minute ' + change.author + ' deleted or overwrote ' + count(change.files, 'file', 'files') +
        ' in ' + change.circle + ', ' + moment(change.date) + '. What was there before is kept until ' +
        (change.mine_to_settle ? 'you say what becomes of it.' : 'a keeper of the circle has said what becomes of it.');
      var line = add(make('li'), make('p', '', words));
      if (change.mine_to_settle) {
        add(line, add(make('div', 'acts'),
          button('Undo it', '', function () { settle(change, true); }),
          button('It was meant', 'plain', function () { settle(change, false); })));
      }
      add(list, line);
    });
    get('held-card').hidden = !changes.length;
  }

  function answerDisk(url, body, words) {
    request('POST', url, body, function (wrong) {
      notice(wrong || words);
      refresh();
    });
  }

  function importWords(told) {
    if (!told.ended) {
      return 'Importing to ' + told.into + ': ' + told.done + ' of ' + told.total + (told.counted ? '' : '+') + ', ' + size(told.done_bytes) + '.';
    }
    var words = 'Imported to ' + told.into + ': ' + count(told.files, 'file', 'files') + ' (' + size(told.bytes) + '), ' +
      told.there + ' were there already';
    if (told.failed) { words += ', ' + told.failed + ' could not be, such as ' + told.failures[0].path + ': ' + told.failures[0].why; }
    return words + (told.stopped ? '. It was given up: ' + told.stopped : '') + '.';
  }

  function showDisks(told) {
    var list = clear(get('disks'));
    told.disks.forEach(function (disk) {
      var words = '\u201c' + disk.name + '\u201d has ' + size(disk.used_bytes) + ' of files. They are read and never changed.';
      var line = make('li');
      if (told.state === 'cache') {
        words += ' There is no room for them here: this box needs a disk of its own.';
      } else if (disk.used_bytes > told.disk_free) {
        words += ' Only ' + size(told.disk_free) + ' are free here, so not all would fit.';
      }
      add(line, make('p', '', words));
      if (told.state === 'full') {
        var row = add(make('div', 'acts'), button('Import into ' + disk.name, '', function () {
          answerDisk('/v1/import-disk', { path: disk.path }, 'It goes on by itself; the disk has to stay plugged in.');
        }));
        if (!disk.answered) {
          add(row, button('Leave it', 'plain', function () { answerDisk('/v1/leave-disk', { path: disk.path }, ''); }));
        }
        add(line, row);
      }
      add(list, line);
    });
    get('disks-card').hidden = !told.disks.length;
    if (told.disks.some(function (disk) { return disk.answered; })) {
      request('GET', '/v1/import-progress', null, function (wrong, answer) {
        if (!wrong) { add(list, make('li', '', importWords(answer))); }
      });
    }
  }

  // What would be lost with the box.
  function safety(told) {
    if (!told) { return ''; }
    if (told.files) { return told.files + (told.files > 1 ? ' files' : ' file') + ' (' + size(told.bytes) + ') only on this box'; }
    return told.changes ? 'the last changes are only on this box yet' : 'everything is safe elsewhere, too';
  }

  function showBox(told) {
    var problems = clear(get('problems'));
    told.problems.forEach(function (problem) { add(problems, make('li', '', problem)); });
    get('problems-card').hidden = !told.problems.length;
    showHeld(told.held);
    showDisks(told);
    facts(get('facts'), [
      ['Light', light(told)[1]],
      ['Copies', safety(told.safety)],
      ['Room for files', told.room ? size(told.room.held_bytes) + ' of ' + size(told.room.quota_bytes) : ''],
      ['Disk', told.disk_total ? size(told.disk_free) + ' free of ' + size(told.disk_total) : ''],
      ['Running for', time(told.uptime_s)],
      ['Friends reach it at', told.listen.join(', ')],
      ['Its tree is mounted at', told.mount],
      ['Memory', told.memory ? size(told.memory) : ''],
      ['Version', told.version],
      ['Device', told.device]
    ]);
    var circles = clear(get('circles'));
    told.circles.forEach(function (circle) {
      var list = make('dl');
      facts(list, [
        ['This box', circle.left ? 'left, and keeps what is here' : circle.role],
        ['Members', circle.members > 1 ? circle.online + ' of ' + (circle.members - 1) + ' others online' : 'this box alone'],
        ['Files and folders', circle.objects + ', ' + size(circle.bytes)],
        ['Here', circle.held_torrents + ' of ' + (circle.held_torrents + circle.wanted_torrents) + ' bodies'],
        ['Conflicts', circle.conflicts ? String(circle.conflicts) : ''],
        ['Somebody signed two histories', circle.forks.join(', ')]
      ]);
      add(circles, add(make('section', 'card'), make('h2', '', circle.name), list));
    });
  }

  function showCircles(told) {
    var select = get('circle');
    var names = told.circles.filter(function (circle) { return circle.role === 'keeper' && !circle.left && circle.name !== 'Home'; });
    get('circle-label').hidden = names.length < 2;
    if (select.options.length === names.length) { return; }
    clear(select);
    names.forEach(function (circle) {
      var option = make('option', '', circle.name);
      option.value = circle.name;
      add(select, option);
    });
  }

  // --- friends

  function showFriends(friends) {
    var list = clear(get('people'));
    friends.forEach(function (friend) {
      if (friend.removed) { return; }
      var seen = friend.sheet ? 'on paper' : friend.online ? 'online' :
        friend.last_seen_s === null ? 'not seen since the start' : 'seen ' + time(friend.last_seen_s) + ' ago';
      var holds = friend.holds_torrents === null ? '' :
        friend.holds_torrents === friend.all_torrents ? 'holds everything, ' :
        'holds ' + friend.holds_torrents + ' of ' + count(friend.all_torrents, 'file', 'files') + ', ';
      var text = add(make('div', 'text'),
        make('b', '', friend.name),
        make('span', 'quiet', friend.role + ' of ' + friend.circle + ', ' + seen),
        make('br'),
        make('span', 'quiet', friend.sheet ? 'Whoever has it can read everything.' :
          holds + size(friend.downloaded) + ' came, ' + size(friend.uploaded) + ' went'));
      var item = add(make('li', 'row'), make('span', friend.online ? 'spot on' : 'spot'), text);
      if (friend.sheet && keeps(friend.circle)) {
        add(item, button('It is lost', 'danger', function () { removeMember(friend.circle, friend.name); }));
      }
      add(list, item);
    });
    if (!list.firstChild) { add(list, make('li', 'empty', 'No friends yet: invite one, or join one.')); }
  }

  var plotted = [];
  function showTransfers(told) {
    var down = 0;
    var up = 0;
    told.traffic.forEach(function (peer) { down += peer.rate_down; up += peer.rate_up; });
    plotted.push([down, up]);
    if (plotted.length > 60) { plotted.shift(); }
    plot();
    get('rates').textContent = size(down) + '/s come, ' + size(up) + '/s go';
    var list = clear(get('transfers'));
    told.transfers.forEach(function (transfer) {
      var bar = make('progress');
      bar.max = transfer.total_bytes || 1;
      bar.value = transfer.have_bytes;
      var from = transfer.sources.map(function (source) { return source.name; }).join(', ');
      add(list, add(make('li'),
        make('b', '', transfer.name || 'something encrypted'), bar,
        make('span', 'quiet', size(transfer.have_bytes) + ' of ' + size(transfer.total_bytes) +
          (transfer.rate_down ? ', ' + size(transfer.rate_down) + '/s' : '') + (from ? ', from ' + from : ''))));
    });
    if (!list.firstChild) { add(list, make('li', 'quiet', 'Nothing is being fetched.')); }
  }

  function plot() {
    var canvas = get('plot');
    var pen = canvas.getContext && canvas.getContext('2d');
    if (!pen) { return; }
    var most = 65536;
    plotted.forEach(function (pair) { most = Math.max(most, pair[0], pair[1]); });
    pen.clearRect(0, 0, canvas.width, canvas.height);
    [['#2fa35b', 0], ['#c98a1b', 1]].forEach(function (line) {
      pen.beginPath();
      pen.lineWidth = 3;
      pen.strokeStyle = line[0];
      plotted.forEach(function (pair, at) {
        pen.lineTo(at * canvas.width / 59, canvas.height - 4 - pair[line[1]] / most * (canvas.height - 10));
      });
      pen.stroke();
    });
  }

  get('invite').onclick = function () {
    var asked = { role: get('role').value };
    if (!get('circle-label').hidden) { asked.circle = get('circle').value; }
    get('invite').disabled = true;
    request('POST', '/v1/invite', asked, function (wrong, answer) {
      get('invite').disabled = false;
      if (wrong) { return notice(wrong); }
      get('invite-text').value = answer.invite;
      drawCode(get('invite-qr'), answer.qr);
      get('invited').hidden = false;
    });
  };

  // Draws the rows of a QR code, with the quiet zone that it needs around it.
  function drawCode(canvas, rows) {
    var pen = canvas.getContext && canvas.getContext('2d');
    canvas.hidden = !(rows && pen);
    if (canvas.hidden) { return; }
    canvas.width = canvas.height = (rows.length + 8) * 4;
    pen.fillStyle = '#fff';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = '#000';
    rows.forEach(function (row, y) {
      for (var x = 0; x < row.length; x++) {
        if (row.charAt(x) === '#') { pen.fillRect((x + 4) * 4, (y + 4) * 4, 4, 4); }
      }
    });
  }

  get('copy').onclick = function () {
    get('invite-text').focus();
    get('invite-text').select();
    get('invite-text').setSelectionRange(0, 100000);
    var copied = false;
    try { copied = document.execCommand('copy'); } catch (refused) { copied = false; }
    get('copy').textContent = copied ? 'Copied' : 'Copy the marked text';
    setTimeout(function () { get('copy').textContent = 'Copy it'; }, 3000);
  };

  get('join').onclick = function () {
    get('join').disabled = true;
    get('join').textContent = 'Joining';
    request('POST', '/v1/join', { invite: get('join-text').value }, function (wrong, answer) {
      get('join').disabled = false;
      get('join').textContent = 'Join';
      notice(wrong || 'You have joined ' + answer.circle + '.');
      if (!wrong) { get('join-text').value = ''; }
      refresh();
    });
  };

  // --- the recovery sheet

  function keeps(circle) {
    return status && status.circles.some(function (held) { return held.name === circle && held.role === 'keeper' && !held.left; });
  }

  function removeMember(circle, name) {
    if (!confirm('Remove \u201c' + name + '\u201d from ' + circle + ' for good?')) { return; }
    request('POST', '/v1/remove', { circle: circle, member: name }, function (wrong) {
      notice(wrong || '\u201c' + name + '\u201d is removed.');
      refresh();
    });
  }

  function showSheet(told) {
    var has = told.circles.filter(function (circle) { return circle.sheet; });
    var lacks = told.circles.filter(function (circle) { return circle.lacks_sheet; });
    var names = function (circles) { return circles.map(function (circle) { return circle.name; }).join(', '); };
    var words = 'By a recovery sheet, which is twelve words on paper, a new box takes the place of this one, as long as a friend or a cache has the files. ';
    if (has.length) { words += 'There is one for ' + names(has) + ': \u201c' + has[0].sheet + '\u201d. Another one makes it worthless. '; }
    if (lacks.length) { words += 'There is none for ' + names(lacks) + '.'; }
    get('sheet-words').textContent = words;
    get('sheet').hidden = !has.length && !lacks.length;
    get('sheet').textContent = has.length ? 'Make another one' : 'Make a recovery sheet';
  }

  get('sheet').onclick = function () {
    if (status.circles.some(function (circle) { return circle.sheet; }) &&
      !confirm('The sheet that you have is worthless once another is made. Make another?')) { return; }
    get('sheet').disabled = true;
    request('POST', '/v1/sheet', null, function (wrong, answer) {
      get('sheet').disabled = false;
      if (wrong) { return notice(wrong); }
      get('paper-name').textContent = answer.name + ', for ' + answer.circles.join(', ');
      var list = clear(get('paper-words'));
      answer.words.split(' ').forEach(function (word) { add(list, make('li', '', word)); });
      drawCode(get('paper-qr'), answer.qr);
      get('paper-text').textContent = answer.text;
      get('paper-at').textContent = answer.addresses.length ? 'They are at ' + answer.addresses.join(', ') + ' now.' : '';
      get('paper-alone').textContent = answer.alone.length ? 'It does not bring back ' + answer.alone.join(', ') + ': nobody else has it.' : '';
      get('paper').hidden = false;
      refresh();
    });
  };

  get('paper-print').onclick = function () { window.print(); };

  get('paper-close').onclick = function () {
    // It is shown once: nothing of it stays on the page.
    ['paper-name', 'paper-words', 'paper-text', 'paper-at', 'paper-alone'].forEach(function (id) { clear(get(id)); });
    get('paper-qr').width = 1;
    get('paper').hidden = true;
  };

  get('recover').onclick = function () {
    var at = get('recover-at').value.trim();
    get('recover').disabled = true;
    get('recover').textContent = 'Asking';
    request('POST', '/v1/recover', { sheet: get('recover-text').value, at: at ? [at] : [] }, function (wrong, answer) {
      get('recover').disabled = false;
      get('recover').textContent = 'Take its place';
      if (wrong) { return notice(wrong); }
      get('recover-text').value = '';
      showRecovered(answer);
      refresh();
    });
  };

  function showRecovered(answer) {
    var list = clear(get('recovered'));
    answer.circles.forEach(function (circle) {
      var item = make('li', '', 'This box keeps ' + circle.name + ' now, and fetches what friends have. ');
      if (circle.printed_by) {
        add(item, button('Remove the lost box \u201c' + circle.printed_by + '\u201d', 'danger', function () { removeMember(circle.name, circle.printed_by); }));
      }
      add(list, item);
    });
    add(list, make('li', '', answer.missing
      ? answer.missing + ' more circles of the sheet are with nobody who was asked: keep it, and try again where they are.'
      : 'The sheet is used up: destroy it, and make another one.'));
  }

  // --- files

  // The segments of the path that is shown, as they stand in an address.
  var path = [];
  var entries = [];
  var next = null;

  function address(href) {
    return '/files/' + path.concat(href === undefined ? [] : [href]).join('/') + (href === undefined && path.length ? '/' : '');
  }

  function readable(segment) {
    try { return decodeURIComponent(segment); } catch (broken) { return segment; }
  }

  function openPath(segments) {
    location.hash = '#files' + segments.map(function (segment) { return '/' + segment; }).join('');
  }

  function load(more) {
    var asked = path.join('/');
    var from = more ? next : null;
    request('GET', address() + (from ? '?after=' + from : ''), null, function (wrong, answer, code) {
      if (asked !== path.join('/')) { return; }
      if (wrong) {
        notice(wrong);
        if (code === 404 && path.length) { openPath(path.slice(0, -1)); }
        return;
      }
      if (!answer.entries) { return openPath(path.slice(0, -1)); }
      entries = from ? entries.concat(answer.entries) : answer.entries;
      next = answer.next;
      showFiles();
    });
  }

  function showFiles() {
    var crumbs = clear(get('crumbs'));
    var top = make('a', '', 'All files');
    top.href = '#files';
    add(crumbs, top);
    path.forEach(function (segment, at) {
      var link = make('a', '', readable(segment));
      link.href = '#files/' + path.slice(0, at + 1).join('/');
      add(crumbs, make('i', '', '/'), link);
    });
    var sorted = entries.filter(function (entry) { return !isLeaving(address(entry.href)); }).sort(function (a, b) {
      if ((a.kind === 'directory') !== (b.kind === 'directory')) { return a.kind === 'directory' ? -1 : 1; }
      return a.name.localeCompare(b.name);
    });
    forgetPreviews();
    var list = clear(get('list'));
    sorted.forEach(function (entry) { add(list, line(entry)); });
    if (!sorted.length) { add(list, make('li', 'empty', 'Nothing is here yet.')); }
    get('more').hidden = !next;
    showTools();
  }

  // Where the root shows several circles, files go into one of them.
  function showTools() {
    get('tools').hidden = !path.length && status && status.circles.length > 1;
  }

  function line(entry) {
    var item = make('li');
    var ending = entry.name.lastIndexOf('.') > 0 ? entry.name.slice(entry.name.lastIndexOf('.') + 1, 99).toUpperCase() : '';
    var kind = make('span', 'kind', ending.length < 5 ? ending : '');
    var about = entry.kind === 'file' ? size(entry.size) + (entry.mtime > 0 ? ', ' + day(entry.mtime) : '') : day(entry.mtime);
    if (KEPT[entry.place]) { about += ', ' + KEPT[entry.place]; }
    if (entry.pinned) { about += ', pinned'; }
    if (entry.kind === 'directory') { kind.className = 'kind folder'; kind.textContent = ''; }
    if (PICTURES.test(entry.name)) { kind.className = 'kind picture'; preview(kind, entry); }
    var open = button('', 'open', function () { openEntry(entry); });
    add(open, kind, add(make('div', 'text'), make('b', '', entry.name), make('span', 'quiet', about)));
    var acts = make('div', 'acts');
    acts.hidden = true;
    if (entry.kind === 'file') {
      var save = make('a', 'button', 'Save');
      save.href = address(entry.href) + '?save';
      add(acts, save, button('Versions', '', function () { showVersions(entry); }));
    }
    if (entry.pinned) {
      add(acts, button('Unpin', '', function () { pin(entry, false); }));
    } else if (entry.kind !== 'symlink') {
      add(acts, button('Keep here', '', function () { pin(entry, true); }));
      if (entry.place !== 'remote') { add(acts, button('Free room', '', function () { free(entry); })); }
    }
    add(acts, button('Delete', 'danger', function () { remove(entry); }));
    var dots = button('\u22ef', 'dots', function () { acts.hidden = !acts.hidden; });
    dots.setAttribute('aria-label', 'What to do with ' + entry.name);
    return add(item, add(make('div', 'row'), open, dots), acts);
  }

  function openEntry(entry) {
    if (entry.kind === 'directory') { return openPath(path.concat([entry.href])); }
    if (entry.kind === 'symlink') { return notice('This is a link, which leads nowhere here.'); }
    if (PICTURES.test(entry.name) || FILMS.test(entry.name) || SOUNDS.test(entry.name)) { return view(entry); }
    location.href = address(entry.href) + '?save';
  }

  // --- what is kept on this box

  var KEPT = { partly: 'partly here', remote: 'with friends' };

  function pin(entry, pinned) {
    request('POST', '/v1/pin', { path: inTree(entry.name), pinned: pinned }, function (wrong) {
      notice(wrong || (pinned ? 'It is fetched, and stays here.' : 'It may go when room is short.'));
      load(false);
    });
  }

  function free(entry) {
    notice('Asking friends to keep it.');
    request('POST', '/v1/free', { path: inTree(entry.name) }, function (wrong, answer) {
      var stay = answer && answer.stay || [];
      var words = answer && answer.files ? size(answer.bytes) + ' went; friends hold it.' : 'Nothing of it is here.';
      notice(wrong || words + stay.map(function (one) { return ' ' + one.files + ' stay: ' + one.why + '.'; }).join(''));
      load(false);
    });
  }

  // --- deleting, which waits a while for second thoughts

  var UNDO_MS = 8000;
  // What is shown as deleted, and is deleted when nobody takes it back.
  var leaving = null;

  function isLeaving(url) { return leaving !== null && leaving.url === url; }

  function remove(entry) {
    finishRemoval();
    leaving = { url: address(entry.href), timer: setTimeout(finishRemoval, UNDO_MS) };
    get('undo-words').textContent = 'Deleted \u201c' + entry.name + '\u201d for everybody.';
    get('undo').hidden = false;
    showFiles();
  }

  function finishRemoval() {
    if (!leaving) { return; }
    var url = leaving.url;
    stopRemoval();
    request('DELETE', url, null, function (wrong) {
      if (wrong) { notice(wrong); }
      if (tab === 'files') { load(false); }
    });
  }

  function stopRemoval() {
    clearTimeout(leaving.timer);
    leaving = null;
    get('undo').hidden = true;
  }

  get('undo-button').onclick = function () {
    stopRemoval();
    showFiles();
  };

  // Who leaves the page has seen it deleted; if the browser has no way to say so any more, the file stays.
  window.addEventListener('pagehide', function () {
    if (!leaving || !window.fetch) { return; }
    fetch(leaving.url, { method: 'DELETE', keepalive: true });
    stopRemoval();
  });

  get('mkdir').onclick = function () {
    var name = prompt('Name of the new folder');
    if (!name) { return; }
    request('POST', address(encodeURIComponent(name)) + '?mkdir', null, function (wrong) {
      notice(wrong);
      load(false);
    });
  };

  get('more').onclick = function () { load(true); };

  // --- what was: older versions of a file, and what was deleted here

  var PLACES = {
    here: '', friends: 'with friends', partly: 'partly here', gone: 'nobody who is online has it'
  };

  function inTree(name) { return path.map(readable).concat(name === undefined ? [] : [name]).join('/'); }

  function moment(date) {
    var parsed = new Date(date);
    return isNaN(parsed) ? date : parsed.toLocaleString();
  }

  function showOlder(title, empty, lines) {
    get('older-title').textContent = title;
    get('older-words').textContent = lines.length ? '' : empty;
    var list = clear(get('older-list'));
    lines.forEach(function (line) { add(list, line); });
    get('older').hidden = false;
    window.scrollTo(0, 0);
  }

  function olderLine(name, facts, place, back) {
    var about = facts.concat(PLACES[place] ? [PLACES[place]] : []).join(', ');
    var row = add(make('div', 'row'), add(make('div', 'text'), make('b', '', name), make('span', 'quiet', about)));
    return add(make('li'), add(row, button('Put back', '', back)));
  }

  function putBack(asked, again) {
    request('POST', '/v1/restore', asked, function (wrong) {
      notice(wrong || 'It is back.');
      load(false);
      if (!wrong) { again(); }
    });
  }

  function showVersions(entry) {
    var file = inTree(entry.name);
    request('POST', '/v1/versions', { path: file }, function (wrong, answer) {
      if (wrong) { return notice(wrong); }
      showOlder(entry.name, 'It has no older versions.', answer.versions.map(function (version) {
        return olderLine(moment(version.date), ['by ' + version.author, size(version.size)], version.place, function () {
          putBack({ path: file, version: version.number }, function () { showVersions(entry); });
        });
      }));
    });
  }

  function showDeleted() {
    request('POST', '/v1/versions', { path: inTree() }, function (wrong, answer) {
      if (wrong) { return notice(wrong); }
      showOlder('Deleted files', 'Nothing was deleted here.', answer.deleted.map(function (file) {
        var facts = [moment(file.date), 'by ' + file.author, size(file.size)];
        return olderLine(file.path, facts, file.place, function () { putBack({ path: file.path }, showDeleted); });
      }));
    });
  }

  get('deleted').onclick = showDeleted;
  get('older-close').onclick = function () { get('older').hidden = true; };

  // --- previews: cameras put a small picture into the head of each photo, and no more than that is fetched

  var HEAD = 65508;
  var SMALL = 200000;
  var PREVIEWS = 200;
  // What was cut out, by address and version, in the order in which it came.
  var previews = {};
  var previewed = [];
  var wantedPreviews = [];
  var askedPreviews = 0;
  var watcher = window.IntersectionObserver && new IntersectionObserver(function (seen) {
    seen.forEach(function (one) {
      if (!one.isIntersecting) { return; }
      watcher.unobserve(one.target);
      wantedPreviews.push(one.target);
    });
    fetchPreviews();
  }, { rootMargin: '200px' });

  function forgetPreviews() {
    wantedPreviews = [];
    if (watcher) { watcher.disconnect(); }
  }

  function preview(kind, entry) {
    kind.wants = { url: address(entry.href), key: address(entry.href) + ' ' + entry.mtime + ' ' + entry.size, size: entry.size, jpeg: /\.jpe?g$/i.test(entry.name) };
    if (previews[kind.wants.key]) { return showPreview(kind, previews[kind.wants.key]); }
    if (watcher && (kind.wants.jpeg || entry.size <= SMALL)) { watcher.observe(kind); }
  }

  function showPreview(kind, found) {
    if (!found.url) { return; }
    var picture = make('img', 'turn' + found.turn);
    picture.alt = '';
    picture.src = found.url;
    add(clear(kind), picture);
  }

  // Three at once, so that a folder of photos leaves the box time for other things.
  function fetchPreviews() {
    while (askedPreviews < 3 && wantedPreviews.length) { fetchPreview(wantedPreviews.shift()); }
  }

  function fetchPreview(kind) {
    var wants = kind.wants;
    var xhr = new XMLHttpRequest();
    askedPreviews += 1;
    xhr.open('GET', wants.url);
    if (wants.size > SMALL) { xhr.setRequestHeader('Range', 'bytes=0-' + (HEAD - 1)); }
    xhr.responseType = 'arraybuffer';
    xhr.timeout = 60000;
    xhr.onloadend = function () {
      askedPreviews -= 1;
      var got = xhr.status === 200 || xhr.status === 206;
      var found = got ? cutPreview(xhr.response, wants) : null;
      if (found) {
        keepPreview(wants.key, found);
        showPreview(kind, found);
      }
      fetchPreviews();
    };
    xhr.send();
  }

  function keepPreview(key, found) {
    previews[key] = found;
    previewed.push(key);
    if (previewed.length <= PREVIEWS) { return; }
    var oldest = previewed.shift();
    if (previews[oldest] && previews[oldest].url) { URL.revokeObjectURL(previews[oldest].url); }
    delete previews[oldest];
  }

  function cutPreview(bytes, wants) {
    var found = null;
    try { found = wants.jpeg ? exifPicture(new DataView(bytes)) : null; } catch (broken) { found = null; }
    if (found) { return { url: URL.createObjectURL(new Blob([bytes.slice(found.from, found.to)], { type: 'image/jpeg' })), turn: found.turn }; }
    // A small picture is its own preview; a large one without has none.
    return wants.size <= SMALL ? { url: wants.url, turn: 1 } : { url: null, turn: 1 };
  }

  // Where a photo's second image directory (Exif 2.3, section 4.5.5) has its JPEG, and how the camera was held. Throws
  // where the file ends before it should.
  function exifPicture(view) {
    var at = 2;
    if (view.getUint16(0) !== 0xffd8) { return null; }
    while (view.getUint16(at) > 0xff00 && view.getUint16(at) !== 0xffda) {
      var exif = view.getUint16(at) === 0xffe1 && view.getUint32(at + 4) === 0x45786966;
      if (exif) { return tiffPicture(view, at + 10); }
      at += 2 + view.getUint16(at + 2);
    }
    return null;
  }

  function tiffPicture(view, start) {
    var little = view.getUint16(start) === 0x4949;
    var short = function (at) { return view.getUint16(start + at, little); };
    var long = function (at) { return view.getUint32(start + at, little); };
    var tags = function (directory) {
      var found = {};
      for (var at = 0; at < short(directory); at++) {
        var entry = directory + 2 + 12 * at;
        found[short(entry)] = short(entry + 2) === 3 ? short(entry + 8) : long(entry + 8);
      }
      return found;
    };
    var photo = long(4);
    var turn = tags(photo)[0x112] || 1;
    var second = long(photo + 2 + 12 * short(photo));
    if (!second) { return null; }
    var small = tags(second);
    var from = start + small[0x201];
    var to = from + small[0x202];
    return view.getUint16(from) === 0xffd8 && to <= view.byteLength ? { from: from, to: to, turn: turn } : null;
  }

  // --- pictures, films and sounds

  var viewed = null;

  function view(entry) {
    var kind = PICTURES.test(entry.name) ? 'img' : FILMS.test(entry.name) ? 'video' : 'audio';
    var shown = make(kind);
    viewed = entry;
    if (kind !== 'img') { shown.controls = true; }
    shown.onerror = function () {
      add(clear(get('stage')), make('p', '', 'This cannot be shown here: save it, or try again when a friend who has it is online.'));
    };
    shown.src = address(entry.href);
    add(clear(get('stage')), shown);
    get('viewed').textContent = entry.name;
    get('save').href = address(entry.href) + '?save';
    get('viewer').hidden = false;
  }

  function step(by) {
    var all = entries.filter(function (entry) { return entry.kind === 'file' && PICTURES.test(entry.name); });
    all.sort(function (a, b) { return a.name.localeCompare(b.name); });
    var at = all.indexOf(viewed);
    if (all.length) { view(all[(at + by + all.length) % all.length]); }
  }

  function close() {
    clear(get('stage'));
    get('viewer').hidden = true;
  }

  get('close').onclick = close;
  get('before').onclick = function () { step(-1); };
  get('after').onclick = function () { step(1); };
  document.addEventListener('keydown', function (event) {
    if (get('viewer').hidden) { return; }
    if (event.keyCode === 27) { close(); }
    if (event.keyCode === 37) { step(-1); }
    if (event.keyCode === 39) { step(1); }
  });

  // --- uploads, one after the other

  var STORED_MS = 4000;
  var queue = [];
  var sending = false;

  get('pick').onchange = function () {
    var files = get('pick').files;
    for (var at = 0; at < files.length; at++) { offer(files[at]); }
    get('pick').value = '';
    send();
  };

  // A file for the folder that is shown.
  function offer(file) {
    var known = entries.some(function (entry) { return entry.name === file.name; });
    if (known && !confirm('There is \u201c' + file.name + '\u201d already. Replace it?')) { return; }
    enqueue(file, address(encodeURIComponent(file.name)), known);
  }

  function isFiles(event) {
    var types = event.dataTransfer ? Array.prototype.slice.call(event.dataTransfer.types) : [];
    return tab === 'files' && !get('tools').hidden && types.indexOf('Files') >= 0;
  }

  document.addEventListener('dragover', function (event) {
    if (isFiles(event)) { event.preventDefault(); }
    get('files').classList.toggle('taking', isFiles(event));
  });
  document.addEventListener('dragleave', function () { get('files').classList.remove('taking'); });
  document.addEventListener('drop', function (event) {
    get('files').classList.remove('taking');
    if (!isFiles(event)) { return; }
    event.preventDefault();
    var dropped = event.dataTransfer.items || [];
    for (var at = 0; at < dropped.length; at++) {
      var entry = dropped[at].webkitGetAsEntry && dropped[at].webkitGetAsEntry();
      if (entry && entry.isDirectory) { takeFolder(entry, address(encodeURIComponent(entry.name))); continue; }
      var file = dropped[at].getAsFile();
      if (file) { offer(file); }
    }
    send();
  });

  // Makes the folder if it is not there, then takes what is in it.
  function takeFolder(folder, url) {
    request('POST', url + '?mkdir', null, function (wrong, answer, code) {
      if (wrong && code !== 409) { return notice(wrong); }
      var reader = folder.createReader();
      var failed = function () { notice('\u201c' + folder.name + '\u201d could not be read.'); };
      var some = function (found) {
        found.forEach(function (entry) {
          var below = url + '/' + encodeURIComponent(entry.name);
          if (entry.isDirectory) { return takeFolder(entry, below); }
          entry.file(function (file) { enqueue(file, below, false); send(); }, failed);
        });
        // Browsers tell some at a time.
        if (found.length) { reader.readEntries(some, failed); }
      };
      reader.readEntries(some, failed);
      if (tab === 'files') { load(false); }
    });
  }

  function enqueue(file, url, replace) {
    var upload = { file: file, url: url, replace: replace, item: make('div', 'card'), bar: make('progress'), words: make('span', 'quiet', 'waits') };
    upload.bar.max = file.size || 1;
    upload.bar.value = 0;
    upload.stop = button('Stop', '', function () {
      upload.stopped = true;
      if (upload.xhr) { upload.xhr.abort(); } else { upload.item.parentNode.removeChild(upload.item); }
    });
    add(upload.item, make('b', '', file.name), upload.bar, upload.words, make('br'), upload.stop);
    add(get('uploads'), upload.item);
    queue.push(upload);
  }

  function send() {
    var upload = queue[0];
    if (sending || !upload) { return; }
    queue.shift();
    if (upload.stopped) { return send(); }
    sending = true;
    var xhr = upload.xhr = new XMLHttpRequest();
    xhr.open('PUT', upload.url);
    if (!upload.replace) { xhr.setRequestHeader('If-None-Match', '*'); }
    xhr.upload.onprogress = function (event) {
      upload.bar.value = event.loaded;
      upload.words.textContent = event.loaded < upload.file.size ?
        size(event.loaded) + ' of ' + size(upload.file.size) + ', ' + Math.floor(event.loaded / upload.file.size * 100) + ' %' :
        '100 % is there, and is being stored';
    };
    xhr.onload = function () {
      answered(xhr, function (wrong, answer, code) {
        if (code === 412 && confirm('There is \u201c' + upload.file.name + '\u201d already. Replace it?')) {
          enqueue(upload.file, upload.url, true);
          wrong = null;
        }
        sent(upload, wrong);
      });
    };
    xhr.onerror = function () { sent(upload, 'It broke off: look whether the box is on and its disk has space.'); };
    xhr.onabort = function () { sent(upload, null); };
    xhr.send(upload.file);
  }

  function sent(upload, wrong) {
    sending = false;
    if (wrong) {
      upload.words.textContent = wrong;
      upload.words.className = 'bad';
      upload.stop.textContent = 'Close';
      upload.xhr = null;
    } else if (upload.xhr.status >= 200 && upload.xhr.status < 300) {
      upload.bar.value = upload.bar.max;
      upload.words.textContent = '100 %, stored';
      upload.stop.hidden = true;
      setTimeout(function () { upload.item.parentNode.removeChild(upload.item); }, STORED_MS);
    } else {
      upload.item.parentNode.removeChild(upload.item);
    }
    if (tab === 'files') { load(false); }
    send();
  }

  window.onbeforeunload = function () { return sending ? 'Files are on their way to the box.' : undefined; };

  // --- what is shown

  var tab = 'files';

  function go() {
    var parts = location.hash.replace(/^#/, '').split('/');
    tab = ['friends', 'box'].indexOf(parts[0]) >= 0 ? parts[0] : 'files';
    ['files', 'friends', 'box'].forEach(function (name) {
      get(name).hidden = name !== tab;
      get('to-' + name).className = name === tab ? 'here' : '';
    });
    close();
    if (tab === 'files') {
      path = parts.slice(1).filter(function (part) { return part && part !== '.' && part !== '..'; });
      entries = [];
      get('older').hidden = true;
      load(false);
    }
    if (tab === 'box') {
      request('GET', '/v1/password', null, function (wrong, told) { if (!wrong) { showPassword(told); } });
    }
    refresh();
  }

  function refresh() {
    request('GET', '/v1/status', null, function (wrong, told, code) {
      if (!wrong) { return showStatus(told); }
      get('led').className = 'led';
      get('state').textContent = code ? wrong : 'The box does not answer';
    });
    if (tab === 'friends') {
      request('GET', '/v1/friends', null, function (wrong, told) { if (!wrong) { showFriends(told); } });
      request('GET', '/v1/transfers', null, function (wrong, told) { if (!wrong) { showTransfers(told); } });
    }
  }

  // --- the password for WebDAV

  function showPassword(told) {
    get('dav-address').textContent = location.origin + '/dav/';
    get('password-set').textContent = told.set ? 'Change the password' : 'Set the password';
    get('password-remove').hidden = !told.set;
  }

  get('password-form').onsubmit = function () {
    request('PUT', '/v1/password', { password: get('password').value }, function (wrong, told) {
      if (wrong) { return notice(wrong); }
      get('password').value = '';
      showPassword(told);
      notice('The password is set. Drives that are open with another one ask for it anew.');
    });
    return false;
  };

  get('password-remove').onclick = function () {
    request('DELETE', '/v1/password', null, function (wrong, told) {
      if (wrong) { return notice(wrong); }
      showPassword(told);
      notice('The password is gone, and WebDAV is closed.');
    });
  };

  // --- the passphrase that locks the box

  function showPassphrase(told) {
    get('lock-card').hidden = told.state !== 'full';
    if (typeof told.passphrase !== 'boolean') { return; }
    var set = told.passphrase;
    get('lock-words').textContent = set
      ? 'After every start this box waits for its passphrase, on this page. Until then it cannot read anything, and still helps your friends.'
      : 'With a passphrase this box can read your files only after you gave it, also when somebody takes the box away. You will need it after every power cut. If you forget it, nobody can bring back what is here.';
    get('passphrase-old-label').hidden = get('passphrase-remove').hidden = get('lock').hidden = !set;
    get('passphrase-set').textContent = set ? 'Change the passphrase' : 'Set the passphrase';
  }

  function changePassphrase(to, words) {
    var old = get('passphrase-old').value;
    request('POST', '/v1/passphrase', { old: old || null, 'new': to }, function (wrong) {
      if (wrong) { return notice(wrong); }
      get('passphrase-old').value = get('passphrase-new').value = '';
      notice(words);
      refresh();
    });
  }

  get('passphrase-form').onsubmit = function () {
    changePassphrase(get('passphrase-new').value, 'The passphrase is set. This box asks for it after its next start.');
    return false;
  };

  get('passphrase-remove').onclick = function () {
    changePassphrase(null, 'The passphrase is gone. This box starts unlocked.');
  };

  get('lock').onclick = function () {
    request('POST', '/v1/lock', null, function (wrong) {
      if (wrong) { return notice(wrong); }
      // It starts anew, and answers then that it is locked, for which the page is loaded anew.
      notice('One moment: this box forgets all keys.');
      setInterval(refresh, 500);
    });
  };

  get('signout').onclick = function () {
    request('POST', '/v1/signout', null, function () { location.replace('/'); });
  };

  window.onhashchange = go;
  setInterval(function () { if (!document.hidden) { refresh(); } }, EVERY);
  go();
})();
