// Gives a locked box its passphrase, and waits until it is back.
(function () {
  'use strict';

  var words = document.getElementById('words');
  var field = document.getElementById('passphrase');
  var go = document.getElementById('go');

  function request(method, url, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, url);
    xhr.setRequestHeader('Content-Type', 'application/json');
    xhr.timeout = 60000;
    xhr.onload = function () {
      var answer = {};
      try { answer = JSON.parse(xhr.responseText); } catch (broken) { answer = {}; }
      done(xhr.status, answer);
    };
    xhr.onerror = xhr.ontimeout = function () { done(0, { error: 'The box does not answer' }); };
    xhr.send(body);
  }

  function sentence(answer) {
    var text = answer.error || 'Something went wrong';
    if (answer.remedy) { text += ': ' + answer.remedy; }
    return text.charAt(0).toUpperCase() + text.slice(1) + '.';
  }

  // Who unlocked is signed in. Anything else than the lock is for the page itself to show.
  function wait() {
    request('GET', '/v1/status', null, function (status) {
      if (status === 0 || status === 423) { return setTimeout(wait, 500); }
      location.replace('/');
    });
  }

  document.getElementById('form').onsubmit = function () {
    go.disabled = true;
    words.className = '';
    words.textContent = 'One moment.';
    request('POST', '/v1/unlock', JSON.stringify({ passphrase: field.value }), function (status, answer) {
      field.value = '';
      if (status === 200) {
        words.textContent = 'That is it. The box opens its files.';
        return setTimeout(wait, 500);
      }
      go.disabled = false;
      words.className = 'bad';
      words.textContent = sentence(answer);
      field.focus();
    });
    return false;
  };

  field.focus();
})();
