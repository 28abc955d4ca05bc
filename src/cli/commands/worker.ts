import {randomUUID} from 'node:crypto';
import {ConflictError, exitCodes, type ExitCode} from '../../api/errors.js';
import {defaultName} from '../../api/names.js';
import {apiVersion, formatVersion, type Desired, type LoadedFleet} from '../../api/types.js';
import {description} from '../../expertise/prompt.js';
import type {WorkerConfig} from '../../protocol/control.js';
import {createProvider} from '../../providers/create.js';
import {RegistryClient} from '../../registry/registry-client.js';
import {stderrLog} from '../../worker/log.js';
import {ListenError} from '../../worker/server.js';
import {startWorker, type RunningWorker} from '../../worker/start.js';
import type {Command, CommandContext} from '../context.js';
import {loadText} from '../load.js';
import type {WorkerOptions} from '../options.js';
import {writeLine} from '../output.js';
import {chooseTarget} from '../target.js';
import {verify} from '../verify.js';

/** Serves one specialist in this very process; belongs to no fleet, so no controller touches it. */
export const run: Command<WorkerOptions> = async (context, _args, options) => {
  const {fleet, desired} = await declare(context, options);
  const client = new RegistryClient({home: context.home, ports: fleet.ports});
  await refuseRunning(context, client, desired.aiId);
  const config = await configOf(context, fleet, desired);
  const uid = randomUUID();
  const worker = await bind(client, {config, uid, pinned: options.port});
  try {
    await register(client, desired, {config, uid, port: worker.port});
    const {host, choice} = config;
    const model = `${choice.provider}:${choice.model}${choice.why === undefined ? '' : ` (${choice.why})`}`;
    await writeLine(context.stderr, `${desired.aiId} listens on ${host}:${worker.port}, ${model}; Control-C ends it`);
    return await serve(context, worker);
  } finally {
    await worker.close(0);
    await client.deregister(desired.aiId, {uid});
  }
};

/** A Specialist document that nobody wrote down: checked, completed and overridden like any other. */
async function declare(
  context: CommandContext,
  {component, port, provider = 'auto', model, name, namespace = 'default'}: WorkerOptions,
): Promise<{readonly fleet: LoadedFleet; readonly desired: Desired}> {
  const document = {
    apiVersion,
    kind: 'Specialist',
    metadata: {name: name ?? defaultName(component), namespace},
    spec: {component, provider, ...(model !== undefined && {model}), ...(port !== undefined && {port})},
  };
  const [fleet] = await loadText(context, JSON.stringify(document, undefined, 2));
  const desired = fleet?.specialists[0];
  if (fleet === undefined || desired === undefined) throw new Error('one document declares one specialist');
  return {fleet, desired};
}

/** Two of one ai id would take each other's place in the registry. */
async function refuseRunning({signal}: CommandContext, client: RegistryClient, aiId: string): Promise<void> {
  const entry = await client.get(aiId);
  if (entry === undefined) return;
  const found = await verify(entry, AbortSignal.any([AbortSignal.timeout(2000), signal]));
  if (found.type === 'gone') return;
  throw new ConflictError(`cannot serve ${aiId}: it already runs on port ${entry.port}`, {
    hint: 'give this one another --name, or stop the other first',
  });
}

async function configOf(context: CommandContext, fleet: LoadedFleet, desired: Desired): Promise<WorkerConfig> {
  const {aiId, name, namespace, generation, specHash, declared, spec} = desired;
  const {component, host, parameters, expertise, concurrency, sessions, overflow, budget} = spec;
  const target = await chooseTarget(context, desired, fleet.envFile);
  return {
    formatVersion,
    ...{aiId, name, component, namespace, fleet: '', generation, specHash, declared, host},
    ...target,
    ...{parameters, expertise, concurrency, sessions, overflow},
    ...(budget && {budget}),
    graceMs: spec.terminationGracePeriodSeconds * 1000,
  };
}

interface Binding {
  readonly config: WorkerConfig;
  readonly uid: string;
  readonly pinned: number | undefined;
}

/** Takes the next port where another program came first; gives the reservation back where nothing comes of it. */
async function bind(client: RegistryClient, {config, uid, pinned}: Binding): Promise<RunningWorker> {
  const {aiId, host} = config;
  const avoid: number[] = [];
  for (;;) {
    const place = pinned === undefined ? {avoid: [...avoid]} : {pinned};
    const {port} = await client.allocatePort({aiId, uid, host, ...place});
    try {
      return await startWorker({config, uid, port, createProvider, home: client.home, log: stderrLog(aiId)});
    } catch (error) {
      const another = error instanceof ListenError && error.reason === 'PortTaken' && pinned === undefined;
      if (another && avoid.push(port) < 10) continue;
      await client.releasePorts([uid]);
      throw error;
    }
  }
}

async function register(
  client: RegistryClient,
  {aiId, name, namespace, spec}: Desired,
  {config, uid, port}: {readonly config: WorkerConfig; readonly uid: string; readonly port: number},
): Promise<void> {
  const {provider, model} = config.choice;
  await client.register({
    aiId,
    port,
    component: spec.component,
    uid,
    metadata: {
      description: description(spec),
      name,
      namespace,
      host: spec.host,
      provider,
      model,
      roles: spec.expertise.roles,
    },
  });
}

/** Until it is told to end: chats under way get their grace. */
async function serve({signal}: CommandContext, worker: RunningWorker): Promise<ExitCode> {
  const interrupted = new Promise<void>(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), {once: true});
  });
  await Promise.race([interrupted, worker.done]);
  if (!signal.aborted) return exitCodes.ok;
  await worker.close();
  return exitCodes.interrupted;
}
