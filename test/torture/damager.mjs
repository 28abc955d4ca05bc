/** Damages the registry file under running writers, and knows afterwards what should have survived. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {now} from './oplog.mjs';

export class Damager {
  /** When the last damage was done: what was acknowledged to begin later must stay. */
  lastAt = -Infinity;
  /** Contents that the file was given, `null` for a folder in its place. */
  given = [];
  /** Foreign entries, as text, that no damage has destroyed. */
  foreign;
  #path;

  /** Makes a registry with entries of another program. */
  constructor(home) {
    this.#path = join(home, 'platform_ai_registry.json');
    this.foreign = foreignEntries();
    mkdirSync(home, {recursive: true, mode: 0o700});
    writeFileSync(this.#path, JSON.stringify(Object.fromEntries(this.foreign)), {mode: 0o600});
  }

  async damage(schedule, startedAt) {
    for (const {atMs, kind, where} of schedule) {
      await delay(Math.max(0, startedAt + atMs - now()));
      this.#carryOut(kind, where);
      this.lastAt = now();
    }
  }

  #carryOut(kind, where) {
    if (kind === 'removed') {
      rmSync(this.#path, {recursive: true, force: true});
      this.foreign.clear();
      return;
    }
    if (kind === 'folder') {
      this.#replaceByFolder();
      this.given.push(null);
      this.foreign.clear();
      return;
    }
    if (!statSync(this.#path, {throwIfNoEntry: false})?.isFile()) return; // what was done last is not healed yet
    const before = readFileSync(this.#path, 'utf8');
    const text = damaged(this.#withForeign(before), kind, where);
    for (const aiId of [...this.foreign.keys()]) if (!survives(aiId, text)) this.foreign.delete(aiId);
    // Put in place at once, so that what stands there is known to the byte.
    const folder = mkdtempSync(join(this.#path, '..', 'damage-'));
    writeFileSync(join(folder, 'file'), text, {mode: 0o600});
    renameSync(join(folder, 'file'), this.#path);
    rmSync(folder, {recursive: true});
    this.given.push(text);
  }

  /** Another program registers anew what the damage before took from it, so that there is something to lose. */
  #withForeign(text) {
    if (this.foreign.size > 0 || !text.startsWith('{\n')) return text;
    this.foreign = foreignEntries();
    const lines = [...this.foreign].map(([aiId, entry]) => `  ${JSON.stringify(aiId)}: ${JSON.stringify(entry)},`);
    return `{\n${lines.join('\n')}\n${text.slice(2)}`;
  }

  #replaceByFolder() {
    if (!statSync(this.#path, {throwIfNoEntry: false})?.isFile()) return;
    for (let attempt = 0; ; attempt++) {
      try {
        unlinkSync(this.#path);
        mkdirSync(this.#path);
        return;
      } catch (error) {
        // A writer put a registry into the place that was free for a moment, or took it away.
        if (attempt === 200) throw error;
      }
    }
  }
}

/** Entries as other programs write them: no uid, no host. */
function foreignEntries() {
  const numbers = Array.from({length: 20}, (_, n) => n);
  return new Map(numbers.map(n => [`foreign${n}-ai`, {port: 9_500 + n, component: 'foreign', registered_at: n}]));
}

/** `where` in [0, 1) says at which place of the text. */
function damaged(text, kind, where) {
  const place = Math.floor(text.length * where);
  switch (kind) {
    case 'truncated':
      return text.slice(0, Math.min(place, text.length - 3));
    case 'garbage':
      return text.slice(0, place) + '\0\ufffd<<<<<<< HEAD\n"' + text.slice(place + 40);
    case 'brace':
      return '{';
    case 'empty':
      return '';
    case 'stray brace':
      return `${text.trimEnd()}}\n`;
    case 'bad entry':
      return text.replace('{', '{"bad-ai": {"port": "none"},');
    default:
      throw new Error(`unknown damage: ${kind}`);
  }
}

/** Whether the whole entry can still be read in the text by a person: key, brace, closing brace, in one piece. */
function survives(aiId, text) {
  return new RegExp(`"${aiId}":\\s*\\{"port":\\d+,"component":"foreign","registered_at":\\d+\\}`).test(text);
}

/** @param killed how many writers were. @returns violations, and how much of the damage was noticed before a writer had replaced it. */
export function checkDamages(home, {given, foreign}, killed) {
  const registry = JSON.parse(readFileSync(join(home, 'platform_ai_registry.json'), 'utf8'));
  const aside = readdirSync(home).filter(name => name.includes('.corrupt-'));
  const contents = aside.map(name => {
    const path = join(home, name);
    return statSync(path).isDirectory() ? null : readFileSync(path, 'utf8');
  });
  // The last damage was replaced by a writer that was just about to rename and never saw it, nor what stood in it.
  const wasSeen = contents.includes(given.at(-1));
  const lost = [...foreign].filter(([aiId, {port}]) => wasSeen && registry[aiId]?.port !== port);
  const unknown = aside.filter((_, index) => !given.includes(contents[index]));
  const log = join(home, 'events.jsonl');
  const events = existsSync(log) ? readFileSync(log, 'utf8').split('\n') : [];
  const healed = events.filter(line => line.includes('"RegistryHealed"')).length;
  return {
    violations: [
      ...lost.map(([aiId]) => ({violation: 'a readable foreign entry was lost', aiId})),
      ...unknown.map(name => ({violation: 'moved aside though nobody had damaged it', name})),
      // A writer that is just about to rename replaces damage without having seen it: then there is nothing to keep.
      ...(aside.length === 0 ? [{violation: 'no damage was kept for a person to look at'}] : []),
      // A writer may be killed after it has moved the file aside, and before it has said so.
      ...(healed < aside.length - killed
        ? [{violation: 'a healing without an event', healed, aside: aside.length}]
        : []),
    ],
    facts: {damages: given.length, keptAside: aside.length, foreignLeft: foreign.size},
  };
}
