// Data of the page: a description, and arrays that are decoded when they are first asked for.

const decodeBase64 = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
};

const inflate = async (bytes) => {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer();
};

export class Payload {
  constructor(page) {
    this.description = JSON.parse(page.getElementById('description').textContent);
    this.text = page.getElementById('blobs').textContent;
    this.found = new Map();
  }

  // The bytes of an array; decoded once.
  bytes(name) {
    if (!this.found.has(name)) {
      const [start, end] = this.description.places[name];
      this.found.set(name, inflate(decodeBase64(this.text.slice(start, end))));
    }
    return this.found.get(name);
  }

  async array(name, Kind) {
    return new Kind(await this.bytes(name));
  }

  texts(name) {
    const key = `texts of ${name}`;
    if (!this.found.has(key)) {
      const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
      this.found.set(key, this.bytes(name).then(parse));
    }
    return this.found.get(key);
  }
}
