// differential.mjs - our request parser beside the one of Node.js (llhttp).
//
//   node differential.mjs build/parse_driver [MUTATIONS [SEED]]
//
// Both read the table of the unit test and random mutations of it: first the
// head, then as much of the body as is there.  Where they differ, one of the
// rules below has to say why; a difference that no rule explains is printed and
// makes the run fail.  Node is driven through its public API with a stream in
// place of a socket, so nothing touches the network.

import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { Duplex } from 'node:stream';

const [driver, mutations = '20000', seed = '1'] = process.argv.slice(2);
if (!driver || !/^\d+$/.test(mutations) || !/^\d+$/.test(seed)) {
    console.error('usage: differential.mjs PARSE_DRIVER [MUTATIONS [SEED]]');
    process.exit(64);
}

// ======== the rules =======================================================

// We refuse what Node takes.  Each looks at Node's own reading of the request
// and returns the status that is due, or 0.
const stricter = {
    'only HTTP/1.x is served': (q) => (q.major === 1 ? 0 : 505),
    'a version is required, HTTP/0.9 is not served': (q) =>
        / HTTP\/\d\.\d\r\n/.test(q.line) ? 0 : 400,
    'one space is between the parts of a request line': (q) =>
        /^[^ ]+ [^ ]+ [^ ]+$/.test(q.line.trimEnd()) ? 0 : 400,
    'the target is limited to 8 KiB': (q) => (q.url.length > 8192 ? 414 : 0),
    'the number of fields is limited': (q) => (q.fields.length > 128 ? 431 : 0),
    'one empty line may come before a request, not many': (q) =>
        /^(\r\n)?[^\r\n]/.test(q.bytes) ? 0 : 400,
    'a target is made of the characters of RFC 3986': (q) =>
        /^([\w\-.~!$&'()*+,;=/:?@[\]]|%[0-9a-f]{2})*$/i.test(q.url) ? 0 : 400,
    'a target is a path, an absolute http URI or OPTIONS *': (q) => {
        const authority = /^http:\/\/([^/?]*)/i.exec(q.url);
        if (authority) return validHost(authority[1]) ? 0 : 400;
        const others = !['GET', 'HEAD', 'POST'].includes(q.method);
        return q.url[0] === '/' || (q.url === '*' && others) ? 0 : 400;
    },
    'a line ends in CRLF, and CR and LF have no other use': (q) =>
        /\r(?!\n)|(^|[^\r])\n/.test(q.head) ? 400 : 0,
    'there are no control characters in values': (q) =>
        q.fields.some(([, v]) => /[\0-\x08\x0a-\x1f\x7f]/.test(v)) ? 400 : 0,
    'HTTP/1.1 has one Host, nobody has two': (q) => {
        const n = q.all('host').length;
        return n === 1 || (n === 0 && q.minor === 0) ? 0 : 400;
    },
    'a Host is a name and perhaps a port': (q) =>
        q.all('host').every(validHost) ? 0 : 400,
    'a Content-Length is one plain decimal of 63 bits': (q) =>
        q.all('content-length').every(
            (v) => /^\d+$/.test(v) && BigInt(v) < 2n ** 63n) ? 0 : 400,
    'Content-Length and Transfer-Encoding exclude each other': (q) =>
        q.all('content-length').length && q.all('transfer-encoding').length
            ? 400 : 0,
    'HTTP/1.0 has no Transfer-Encoding': (q) =>
        q.minor === 0 && q.all('transfer-encoding').length ? 400 : 0,
    'the only transfer coding is chunked, once': (q) => {
        const codings = q.all('transfer-encoding');
        return codings.length === 0 ||
            (codings.length === 1 && /^chunked$/i.test(codings[0])) ? 0 : 501;
    },
    'an unknown expectation cannot be met': (q) =>
        q.minor > 0 && q.list('expect').some((v) => v !== '100-continue')
            ? 417 : 0,
};

// We take what Node refuses.  Each rewrites the request into one that means the
// same to us and that Node takes; null: the rule does not apply.
const laxer = {
    'blanks around a value may be tabs': (b) => {
        const line = /(\r\n(?:content-length|transfer-encoding):)([^\r\n]+)/gi;
        return b.replace(line, (all, name, value) => name + trim(value));
    },
    'any token is a method (501 comes later, with the body skipped)': (b) => {
        const m = /^(\r\n)?([!#$%&'*+\-.^_`|~0-9A-Za-z]+) /.exec(b);
        return m && !known.includes(m[2])
            ? b.replace(m[2] + ' ', 'PATCH ') : null;
    },
    'HTTP/1.2 to 1.9 are answered as 1.1': (b) =>
        / HTTP\/1\.[2-9]\r\n/.test(b)
            ? b.replace(/ HTTP\/1\.[2-9]\r\n/, ' HTTP/1.1\r\n') : null,
    'the same Content-Length may be said twice': (b) => {
        const line = 'content-length:[ \\t]*0*', end = '[ \\t]*\\r\\n';
        const again = new RegExp(`(\\r\\n${line}(\\d+)${end}(?:.+\\r\\n)*?)` +
            `${line}\\2${end}`, 'i');
        return b.replace(again, '$1');
    },
    'blanks may stand before the semicolon of a chunk extension': (b) => {
        const blanks = /^([0-9a-f]+)[ \t]+;/im;
        return chunked(b) && blanks.test(b) ? b.replace(blanks, '$1;') : null;
    },
    'chunk extensions are not looked into': (b) => {
        const extension = /^([0-9a-f]+);[^\r\n]*\r\n/im;
        return chunked(b) && extension.test(b)
            ? b.replace(extension, '$1\r\n') : null;
    },
};

// Both take it and read it differently.
const otherwise = {
    'HTTP/1.0 with close and keep-alive is closed': (q) =>
        q.minor === 0 && q.list('connection').includes('close'),
    'a tab beside a Connection option does not hide it': (q) =>
        /\r\nconnection:[^\r\n]*\t/i.test(q.head),
};

const known = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS',
    'TRACE'];
const used = new Map();

const trim = (s) => s.replace(/^[ \t]+|[ \t]+$/g, '');
const chunked = (bytes) => /\r\ntransfer-encoding:/i.test(bytes);

function validHost(host) {
    return /^([\w\-.~!$&'()*+,;=]|%[0-9a-f]{2})+(:\d*)?$/i.test(host) ||
        /^\[([\w\-.~!$&'()*+,;=:]|%[0-9a-f]{2})+\](:\d*)?$/i.test(host);
}

// rawTrailers: names and values in turn.
function goodHosts(raw) {
    const hosts = raw.filter((v, i) => i % 2 && /^host$/i.test(raw[i - 1]));
    return hosts.length < 2 && hosts.every(validHost);
}

// ======== Node ============================================================

const server = http.createServer({
    requireHostHeader: false, // Node would answer these by itself
    connectionsCheckingInterval: 2 ** 30,
});
let heard;
for (const event of ['request', 'checkContinue', 'checkExpectation'])
    server.on(event, (req, res) => {
        heard.first ??= { req, keep: res.shouldKeepAlive };
    });
server.on('clientError', (err) => { heard.error ??= err.code; });
server.on('connect', () => { heard.error ??= 'CONNECT'; });
server.on('upgrade', () => { heard.error ??= 'UPGRADE'; });
server.shouldUpgradeCallback = () => false; // Upgrade is ignored

// What Node makes of the bytes (a binary string): {state: more, reject or
// accept, ...}.
function node(bytes) {
    const socket = new Duplex({ read() {}, write(c, e, done) { done(); } });
    heard = {};
    server.emit('connection', socket);
    if (bytes.length > 0) socket.emit('data', Buffer.from(bytes, 'latin1'));
    const { first, error } = heard;
    let result = { state: error ? 'reject' : 'more', error };
    if (first) result = { state: 'accept', ...reading(first, error, bytes) };
    socket.destroy();
    return result;
}

function reading({ req, keep }, error, bytes) {
    const raw = req.rawHeaders, fields = [];
    for (let i = 0; i < raw.length; i += 2)
        fields.push([raw[i].toLowerCase(), trim(raw[i + 1])]);
    const all = (name) => fields.filter((f) => f[0] === name).map((f) => f[1]);
    const end = bytes.indexOf('\r\n\r\n', /^[\r\n]*/.exec(bytes)[0].length);
    return {
        bytes, fields, all, keep,
        list: (name) => all(name).flatMap((v) => v.split(','))
            .map((v) => trim(v).toLowerCase())
            .filter((v) => v !== ''),
        head: end < 0 ? bytes : bytes.slice(0, end + 4),
        line: /^(\r\n)*([^\r\n]*\r?\n?)/.exec(bytes)[2],
        method: req.method, url: req.url,
        major: req.httpVersionMajor, minor: req.httpVersionMinor,
        trailers: req.rawTrailers,
        body: req.read()?.toString('latin1') ?? '',
        bodyState: req.complete ? 'done' : error ? 'reject' : 'more',
    };
}

// What a parser with our rules has to make of what Node read.
function expected(q) {
    const length = q.all('content-length')[0];
    const chunked = q.all('transfer-encoding').length > 0;
    const connection = q.list('connection');
    const path = q.url.replace(/^http:\/\/[^/?]*/i, '').replace(/\?.*/s, '');
    return {
        state: 'accept',
        method: q.method, target: path || '/', minor: q.minor,
        keep: !connection.includes('close') &&
            (q.minor > 0 || connection.includes('keep-alive')),
        length: length === undefined ? '-1' : String(BigInt(length)),
        chunked,
        expect: q.minor > 0 && q.list('expect').length > 0 &&
            (chunked || BigInt(length ?? 0) > 0n),
        type: q.all('content-type').find((v) => v !== '') ?? '',
        bodyState: q.bodyState, body: q.body,
    };
}

// ======== ours ============================================================

const hex = (s) => Buffer.from(s, 'latin1').toString('hex');
const unhex = (s) =>
    (s === '-' ? '' : Buffer.from(s, 'hex').toString('latin1'));

function runDriver(args, input) {
    const run = spawnSync(driver, args, { input, maxBuffer: 2 ** 30 });
    if (run.status !== 0)
        throw new Error(`${driver}: ${run.error ?? run.stderr}`);
    return run.stdout.toString().split('\n').slice(0, -1);
}

function ours(inputs) {
    const lines = runDriver([], inputs.map((b) => hex(b) + '\n').join(''));
    return lines.map((line) => {
        const f = line.split(' ');
        if (f[0] !== 'accept') return { state: f[0], status: Number(f[1]) };
        return {
            state: 'accept', method: f[1], target: unhex(f[2]),
            minor: Number(f[3]), keep: f[4] === '1', length: f[5],
            chunked: f[6] === '1', expect: f[7] === '1', type: unhex(f[8]),
            bodyState: f[9], body: unhex(f[10]),
        };
    });
}

// ======== comparing =======================================================

// Bytes that may come next; a refusal has to outlive all of them.
const tails = ['\r\n\r\n', 'x\r\n\r\n', '\nx: y\r\n\r\n', ' HTTP/1.1\r\n\r\n',
    '0\r\n\r\n', '0000000000'];

const note = (rule) => used.set(rule, (used.get(rule) ?? 0) + 1);

// The statuses that our stricter rules give to what Node took.
function faults(q) {
    const found = [];
    for (const [name, rule] of Object.entries(stricter)) {
        const status = rule(q);
        if (status) found.push([name, status]);
    }
    return found;
}

function refusesToo(bytes, status) {
    const q = node(bytes);
    if (q.state === 'reject' || (q.state === 'accept' &&
        q.bodyState === 'reject')) return true;
    if (q.state === 'more') return null;
    const found = faults(q).filter(([, s]) => !status || s === status);
    found.forEach(([name]) => note(name));
    return found.length > 0;
}

// Returns '' when both agree or a rule says why not, else what differs.
function differ(bytes, us) {
    if (/^(\r\n)?CONNECT /.test(bytes)) {
        note('CONNECT is 501 at once');
        return us.status === 501 ? '' : 'CONNECT was not refused';
    }
    const q = node(bytes);
    if (us.state === 'reject') return differRefused(bytes, us, q);
    if (us.state === 'more')
        return q.state === 'more' ? '' : differMore(bytes, q);
    return differTaken(bytes, us, q);
}

function differRefused(bytes, us, q) {
    if (q.state === 'reject') return '';
    if (q.state === 'accept')
        return refusesToo(bytes, us.status) ? '' : `we refuse: ${us.status}`;
    // We said it at the byte; Node may need to see more, but not for ever.
    for (const tail of tails)
        if (refusesToo(bytes + tail, us.status) === false)
            return `we refuse early: ${us.status}, before ${
                JSON.stringify(tail)}`;
    note('we refuse at the byte, Node later');
    return '';
}

// Node has an answer and we want more: ours must be a refusal when it comes.
function differMore(bytes, q) {
    for (let i = 0, other = relax(bytes); other && i < 8; i++) {
        if (node(other).state === 'more') return '';
        other = relax(other);
    }
    if (q.state === 'accept' && !faults(q).length) return 'we want more';
    for (const us of ours(tails.map((tail) => bytes + tail)))
        if (us.state === 'accept' && us.bodyState !== 'reject')
            return 'we want more, and take it then';
    note('Node refuses at the byte, we later');
    return '';
}

// Node has something else to say of what we take, until it was rewritten by
// the laxer rules as often as they apply.
function differTaken(bytes, us, q) {
    let why = compare(us, q);
    for (let i = 0; why && i < 8; i++) {
        bytes = relax(bytes);
        if (bytes === null) return why;
        why = compare(us, node(bytes));
    }
    return why;
}

// The bytes as the first laxer rule that applies rewrites them, or null.
function relax(bytes) {
    for (const [name, rewrite] of Object.entries(laxer)) {
        const other = rewrite(bytes);
        if (other === null || other === bytes) continue;
        note(name);
        return other;
    }
    return null;
}

function compare(us, q) {
    if (q.state !== 'accept') return `we take it, Node: ${q.error ?? q.state}`;
    const found = faults(q);
    if (found.length > 0) return `we take it, but: ${found[0][0]}`;
    const due = expected(q);
    if (us.method === 'known' || us.method === 'unknown')
        due.method = us.method;
    if (us.target === '*') due.target = '*';
    if (us.bodyState === 'more' && due.bodyState === 'reject' &&
        ours(tails.map((tail) => q.bytes + tail))
            .every((o) => o.bodyState !== 'done')) {
        note('Node refuses at the byte, we later');
        due.bodyState = 'more';
    } else if (us.bodyState === 'reject' && due.bodyState === 'more' &&
        tails.every((tail) => node(q.bytes + tail).bodyState !== 'done')) {
        note('we refuse at the byte, Node later');
        due.bodyState = 'reject';
    } else if (us.bodyState === 'reject' && due.bodyState === 'done' &&
        !goodHosts(q.trailers)) {
        note('a Host among the trailers is checked as well');
        due.bodyState = 'reject';
    }
    for (const key of Object.keys(due))
        if (due[key] !== us[key])
            return `${key}: we ${JSON.stringify(us[key])}, Node ${
                JSON.stringify(due[key])} ${q.error ?? ''}`;
    if (us.keep !== q.keep) {
        const rule = Object.keys(otherwise).find((k) => otherwise[k](q));
        if (!rule) return `keep: we ${us.keep}, Node itself ${q.keep}`;
        note(rule);
    }
    return '';
}

// ======== mutations =======================================================

// A small generator of our own, so that a seed means the same everywhere.
let state = BigInt(seed) + 1n;
function random(n) {
    state = (state * 6364136223846793005n + 1442695040888963407n) % 2n ** 64n;
    return Number((state >> 33n) % BigInt(n));
}
const pick = (list) => list[random(list.length)];

const pieces = ['\r', '\n', '\r\n', ' ', '\t', ':', '\0', '\x0b', '\x7f',
    '\x80', ',', ';', '/', '%', '0', '5', 'a', '\r\n ', ' HTTP/1.1', 'http://',
    'Host: a\r\n', 'Content-Length: 5\r\n', 'Content-Length: 6\r\n',
    'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n',
    'Expect: 100-continue\r\n', 'X: y\r\n', 'close', 'chunked', 'keep-alive',
    '\r\n\r\n', '5\r\nhello\r\n', '5;a\r\nhello\r\n', '0\r\n\r\n',
    '0\r\nX: y\r\n\r\n', 'fffffffffffffffff\r\n', 'hello'];

function mutate(bytes, other) {
    const at = random(bytes.length + 1), to = at + 1 + random(4);
    switch (random(7)) {
    case 0: return bytes.slice(0, at) + pick(pieces) + bytes.slice(at);
    case 1: return bytes.slice(0, at) + pick(pieces) + bytes.slice(to);
    case 2: return bytes.slice(0, at) + bytes.slice(to);
    case 3: return bytes.slice(0, at) + String.fromCharCode(random(256)) +
        bytes.slice(at + 1);
    case 4: { // a line twice, or a line of another request
        const lines = bytes.split('\r\n');
        lines.splice(random(lines.length), 0,
            pick(random(2) ? lines : other.split('\r\n')));
        return lines.join('\r\n');
    }
    case 5: return bytes.slice(0, at) + bytes.slice(at, to).toUpperCase() +
        bytes.slice(to);
    default: return bytes + pick(pieces);
    }
}

const bodies = ['', 'hello', '5\r\nhello\r\n0\r\n\r\n', '0\r\n\r\n',
    '1;a=b\r\nx\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n',
    '1 ;a\r\nx\r\n1;;\x80\r\ny\r\n0\r\n\r\n'];

// Around the limits, from both sides.
const request = (target, fields) =>
    `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const limits = [8191, 8192, 8193].map((n) => request('/'.padEnd(n, 'a'), ''))
    .concat([126, 127, 128].map((n) => request('/', 'X: y\r\n'.repeat(n))))
    .concat([15000, 17000].map((n) => request('/',
        `X: ${''.padEnd(n, 'y')}\r\n`)))
    .concat([17000].map((n) => request('/'.padEnd(n, 'a'), '')));

// ======== main ============================================================

const table = runDriver(['--cases'], '').map(unhex);
const inputs = limits.concat(table.flatMap((b) => bodies.map((c) => b + c)));
for (let i = 0; i < Number(mutations); i++) {
    let bytes = pick(table) + pick(bodies);
    for (let n = 1 + random(3); n > 0; n--) bytes = mutate(bytes, pick(table));
    inputs.push(bytes);
}

const start = Date.now();
let unexplained = 0;
const states = { accept: 0, reject: 0, more: 0 };
const answers = ours(inputs);
inputs.forEach((bytes, i) => {
    states[answers[i].state]++;
    const why = differ(bytes, answers[i]);
    if (why && ++unexplained <= 20)
        console.log(`UNEXPLAINED ${why}\n    ${JSON.stringify(bytes)}`);
});
console.log(`Node ${process.versions.node}, llhttp ${process.versions.llhttp}`);
console.log('differences that a rule explains, and how often:');
for (const [name, n] of [...used].sort((a, b) => b[1] - a[1]))
    console.log(`${String(n).padStart(7)}  ${name}`);
console.log(`${inputs.length} inputs (we take ${states.accept}, refuse ${
    states.reject}, want more of ${states.more}), ${unexplained} unexplained, ${
    ((Date.now() - start) / 1000).toFixed(1)} s`);
process.exit(unexplained ? 1 : 0);
