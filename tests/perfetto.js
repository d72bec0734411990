// Runs a query on a trace in Perfetto's own trace processor, compiled to WebAssembly: `node query.js FOLDER TRACE SQL`
// prints the rows as JSON. FOLDER has the engine of Perfetto's page, which expects to be a worker in a browser.
'use strict';
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const [folder, trace, sql] = process.argv.slice(2);
const exit = process.exit.bind(process);
const print = (text) => fs.writeSync(1, text + '\n');

// What a worker has.
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = function () {};
globalThis.importScripts = () => {};
globalThis.location = {href: 'http://localhost/engine_bundle.js'};
globalThis.XMLHttpRequest = class {
  open(_, name) {
    this.name = path.basename(name);
  }
  send() {
    this.response = new Uint8Array(fs.readFileSync(path.join(folder, this.name)));
  }
};
Object.defineProperty(globalThis, 'process', {value: undefined});

// Protocol buffers, as far as they are needed: numbers and bytes.
function varint(value) {
  const bytes = [];
  for (value = BigInt(value); value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
  return [...bytes, Number(value)];
}
const number = (field, value) => Uint8Array.from([...varint(field << 3), ...varint(value)]);
const joined = (...parts) => {
  const all = new Uint8Array(parts.reduce((sum, it) => sum + it.length, 0));
  parts.reduce((at, it) => (all.set(it, at), at + it.length), 0);
  return all;
};
const bytes = (field, value) => joined(Uint8Array.from([...varint((field << 3) | 2), ...varint(value.length)]), value);

function* fields(message) {
  let at = 0;
  const read = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = Number(read());
    if ((tag & 7) === 0) yield [tag >> 3, read()];
    else if ((tag & 7) === 1) yield [tag >> 3, message.slice(at, (at += 8))];
    else if ((tag & 7) === 2) {
      const size = Number(read());
      yield [tag >> 3, message.slice(at, (at += size))];
    } else throw new Error(`wire type ${tag & 7}`);
  }
}
const text = (value) => new TextDecoder().decode(value);
const APPEND = 1, FINALIZE = 2, QUERY = 3;

// How to take a cell of each kind.
const CELLS = {
  1: () => null,
  2: (integers) => Number(BigInt.asIntN(64, integers.shift())),
  3: (_, floats) => floats.shift(),
  4: (_, __, strings) => strings.shift(),
};

// The rows of a `QueryResult`.
class Rows {
  constructor() {
    this.names = [];
    this.rows = [];
    this.row = [];
  }
  add(result) {
    let last = false;
    for (const [field, value] of fields(result)) {
      if (field === 1) this.names.push(text(value));
      else if (field === 2 && value.length) throw new Error(text(value));
      else if (field === 3) last = this.batch(value) || last;
    }
    return last;
  }
  batch(batch) {
    const kinds = [], integers = [], floats = [], strings = [];
    let last = false;
    for (const [field, value] of fields(batch)) {
      if (field === 1) kinds.push(...unpacked(value));
      else if (field === 2) integers.push(...unpacked(value));
      else if (field === 3) floats.push(...new Float64Array(value.slice().buffer));
      else if (field === 5) strings.push(...text(value).split('\0'));
      else if (field === 6) last = Boolean(value);
    }
    for (const kind of kinds) {
      const cell = CELLS[kind](integers, floats, strings);
      this.row.push(cell);
      if (this.row.length === this.names.length) {
        this.rows.push(this.row);
        this.row = [];
      }
    }
    return last;
  }
}
function* unpacked(value) {
  let number = 0n, shift = 0n;
  for (const byte of value) {
    number |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte < 128) {
      yield number;
      number = shift = 0n;
    }
  }
}

vm.runInThisContext(fs.readFileSync(path.join(folder, 'engine_bundle.js'), 'utf8'));
const rows = new Rows();
let sequence = 0;
const port = {
  postMessage(reply) {
    for (const [, rpc] of fields(reply)) {
      for (const [field, value] of fields(rpc)) {
        if (field === 5) throw new Error(text(value));
        if (field === 201) for (const [inner, error] of fields(value)) if (inner === 2) throw new Error(text(error));
        if (field === 203 && rows.add(value)) {
          print(JSON.stringify({names: rows.names, rows: rows.rows}));
          exit(0);
        }
      }
    }
  },
};
const send = (request, ...parts) => {
  const rpc = joined(number(1, sequence++), number(2, request), ...parts);
  port.onmessage({data: bytes(1, rpc)});
};
self.onmessage({data: port});
// The engine has been started by now; it goes on when this script has ended.
setTimeout(() => {
  send(APPEND, bytes(101, fs.readFileSync(trace)));
  send(FINALIZE);
  send(QUERY, bytes(103, bytes(1, new TextEncoder().encode(sql))));
});
