/** A real fleet in a private place: its file, its controller, and what can be seen of it from outside. */
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, readFileSync, renameSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fleetYaml} from './declared.mjs';
import {now, openLog} from './oplog.mjs';
import {signal} from './processes.mjs';
import {processesOf} from './worker-processes.mjs';

export class Fleet {
  /** The file's content as last written, typos aside. */
  declared;
  ports = {from: 18_200, to: 18_299};
  /** Specialists that edits may make it. */
  most = 10;
  #world;
  #work;
  #log;
  #controller;
  #keeping = true;
  #hasTypo = false;

  constructor(world) {
    this.#world = world;
    this.#work = join(world.folder, 'w');
    mkdirSync(this.#work);
    mkdirSync(join(world.folder, 'h'));
    mkdirSync(join(world.folder, 'logs'));
    this.#log = openLog(join(world.folder, 'logs/fleet.log'));
    world.atEnd(() => this.end());
  }

  get home() {
    return this.#world.home;
  }

  /** One line for the history that a failure prints. */
  note(line) {
    this.#log({...line, at: now()});
  }

  declare(fleet, {typo = false} = {}) {
    this.declared = fleet;
    this.#hasTypo = typo;
    const {host} = this.#world;
    // Whole or not at all, as editors save.
    writeFileSync(join(this.#work, 'next'), fleetYaml(fleet, {host, ports: this.ports, typo}));
    renameSync(join(this.#work, 'next'), join(this.#work, 'tekton-ai.yaml'));
  }

  /** Keeps a controller in the foreground: another one is started whenever it has gone, until `end`. */
  async keepController() {
    while (this.#keeping) {
      const child = this.#start(['run']);
      this.#controller = child;
      const {code, by, stderr} = await child.ended;
      this.note({controller: 'ended', code, by, stderr: stderr.slice(-500)});
      if (by !== 'SIGKILL' && mayNotSay(stderr)) this.note({violation: 'the controller broke', stderr});
      await delay(this.#hasTypo || code === 5 ? 200 : 20);
    }
  }

  get controllerPid() {
    return this.#controller?.pid;
  }

  /** Runs `tekton-ai …` to its end. */
  async run(...args) {
    const {code, stdout, stderr} = await this.#start(args).ended;
    this.note({ran: args.join(' '), code, stderr: stderr.slice(-500)});
    if (mayNotSay(stderr)) this.note({violation: 'a command broke', args, code, stderr});
    return {code, stdout, stderr};
  }

  /** What `get` shows; undefined while it can't be asked. */
  async items() {
    const {code, stdout} = await this.#start(['get', '-o', 'json']).ended;
    return code === 0 ? JSON.parse(stdout).items : undefined;
  }

  registry() {
    return JSON.parse(readFileSync(join(this.home, 'platform_ai_registry.json'), 'utf8'));
  }

  /** `down`, and nothing of ours may be left then. @returns what is left */
  async down() {
    this.#keeping = false;
    await this.run('down', '--timeout', '20s');
    for (let round = 0; round < 80 && processesOf(this.home).length > 0; round++) await delay(50);
    return processesOf(this.home);
  }

  /** Ends everything at once. */
  async end() {
    this.#keeping = false;
    for (let round = 0; round < 50; round++) {
      const left = processesOf(this.home);
      if (left.length === 0 && round > 2) return;
      for (const {pid} of left) signal(pid, 'SIGKILL');
      await delay(20);
    }
  }

  #start(args) {
    const child = spawn(process.execPath, [join(this.#world.package, 'dist/tekton-ai.js'), ...args], {
      cwd: this.#work,
      env: {
        PATH: process.env.PATH,
        HOME: join(this.#world.folder, 'h'),
        TEKTON_AI_HOME: this.home,
        OLLAMA_HOST: 'http://127.0.0.1:1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = {stdout: '', stderr: ''};
    child.stdout.on('data', chunk => (output.stdout += chunk));
    child.stderr.on('data', chunk => (output.stderr += chunk));
    const ended = once(child, 'close').then(([code, by]) => ({code, by, ...output}));
    return {pid: child.pid, ended};
  }
}

/** What no command of ours may ever print. */
function mayNotSay(stderr) {
  return /internal error|TypeError|ReferenceError|UnhandledPromise|^\s+at .*\.js:\d+/m.test(stderr);
}
