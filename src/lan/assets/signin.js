// Asks the box to sign in, shows the code, and waits for a press of its button.
(function () {
  'use strict';

  var words = document.getElementById('words');
  var code = document.getElementById('code');
  var hint = document.getElementById('hint');
  var go = document.getElementById('go');

  function request(method, url, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, url);
    xhr.setRequestHeader('Content-Type', 'application/json');
    xhr.timeout = 20000;
    xhr.onload = function () {
      var answer = {};
      try { answer = JSON.parse(xhr.responseText); } catch (broken) { answer = {}; }
      done(xhr.status, answer);
    };
    xhr.onerror = xhr.ontimeout = function () { done(0, { error: 'The box does not answer' }); };
    xhr.send(method === 'POST' ? '{}' : null);
  }

  function sentence(answer) {
    var text = answer.error || 'Something went wrong';
    if (answer.remedy) { text += ': ' + answer.remedy; }
    return text.charAt(0).toUpperCase() + text.slice(1) + '.';
  }

  function ended(text) {
    words.textContent = text;
    words.className = 'bad';
    code.hidden = hint.hidden = true;
    go.hidden = false;
    go.disabled = false;
    go.textContent = 'Try again';
  }

  function times(digit) {
    return digit === '1' ? 'once' : digit === '2' ? 'twice' : digit + ' times';
  }

  function wait(id, until) {
    request('GET', '/v1/signin/' + id, function (status, answer) {
      var left = Math.max(0, Math.round((until - Date.now()) / 1000));
      if (status === 200 && answer.state === 'allowed') {
        words.textContent = 'Welcome.';
        location.replace('/');
      } else if (status === 200 && answer.state === 'refused') {
        ended(sentence(answer));
      } else if (status === 200 || (status === 0 && left > 0)) {
        go.textContent = left + ' s';
        setTimeout(function () { wait(id, until); }, 1000);
      } else {
        ended(sentence(answer));
      }
    });
  }

  // Who came by a link on another page is signed in, though that request could not tell.
  request('GET', '/v1/status', function (status) {
    if (status === 200) { location.replace('/'); }
  });

  go.onclick = function () {
    go.disabled = true;
    words.className = '';
    request('POST', '/v1/signin', function (status, answer) {
      if (status !== 200) { return ended(sentence(answer)); }
      var digits = String(answer.code);
      code.textContent = digits;
      words.textContent = answer.how.charAt(0).toUpperCase() + answer.how.slice(1) + '.';
      hint.textContent = 'First look whether its light blinks ' + times(digits.charAt(0)) + ', and then ' +
        times(digits.charAt(1)) + '. If it blinks something else, somebody else wants to sign in.';
      code.hidden = hint.hidden = false;
      wait(answer.id, Date.now() + answer.seconds * 1000);
    });
  };
})();
