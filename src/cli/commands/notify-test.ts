import {describeError, exitCodes, TektonError} from '../../api/errors.js';
import type {NotificationSpec} from '../../api/notifications.js';
import {suggest} from '../../api/suggest.js';
import {sampleEvent} from '../../api/template.js';
import type {FleetRecord} from '../../api/types.js';
import {aboutOf} from '../../notify/about.js';
import {describeDestination, send} from '../../notify/send.js';
import {DeliverySecrets} from '../../notify/secrets.js';
import {recordId} from '../../reconciler/desired.js';
import {readFleetRecords} from '../../registry/fleet-records.js';
import type {Command} from '../context.js';
import {silentLogger} from '../logger.js';
import {notifyDeps} from '../notifications.js';
import {inScope} from '../observe.js';
import type {NotifyTestOptions} from '../options.js';
import {writeLine} from '../output.js';

interface Chosen {
  readonly record: FleetRecord;
  readonly spec: NotificationSpec;
}

/** Sends a sample event to each, whatever it is told of otherwise. Secrets are those of this command's environment. */
export const run: Command<NotifyTestOptions> = async (context, names, options) => {
  const {home, environment, signal} = context;
  const chosen = choose(
    readFleetRecords(home).filter(record => inScope(record, options)),
    names,
  );
  const deps = notifyDeps({home, environment, log: silentLogger});
  const results = await Promise.all(
    chosen.map(async ({record, spec}) => {
      const {namespace, name, envFile} = record;
      const event = sampleEvent(namespace, name, new Date().toISOString());
      // A person waits: one that doesn't answer is told of, not tried again.
      const to = spec.to.type === 'webhook' ? {...spec.to, retries: 0} : spec.to;
      try {
        if (to.type === 'commitStatus') {
          // A sample would stand at a real commit.
          const {tryCommitStatus} = await import('../../notify/commit-status.js');
          const secrets = new DeliverySecrets(deps, envFile);
          await tryCommitStatus(to, aboutOf(record), {clock: deps.clock, secrets, signal});
          return {ok: true, text: `statuses can be read (${to.type}, ${describeDestination(to)})`};
        }
        const message = {...aboutOf(record), event, leftOut: 0};
        await send(to, message, {deps, envFile, signal, reported: new Map()});
        return {ok: true, text: `told (${to.type}, ${describeDestination(to)})`};
      } catch (error) {
        return {ok: false, text: `not told (${to.type}, ${describeDestination(to)}): ${describeError(error)}`};
      }
    }),
  );
  if (signal.aborted) return exitCodes.interrupted;
  for (const [index, {record, spec}] of chosen.entries()) {
    await writeLine(context.stdout, `${recordId(record)} ${spec.name}: ${results[index]?.text ?? ''}`);
  }
  return results.every(({ok}) => ok) ? exitCodes.ok : exitCodes.failed;
};

/** @throws {TektonError} nothing is declared, or not what was named */
function choose(records: readonly FleetRecord[], names: readonly string[]): readonly Chosen[] {
  const all = records.flatMap(record => (record.notifications ?? []).map(spec => ({record, spec})));
  if (all.length === 0) {
    throw new TektonError('no fleet that was applied here declares notifications', {
      hint: 'declare them under spec.notifications, and apply: tekton-ai apply',
    });
  }
  const known = [...new Set(all.map(({spec}) => spec.name))];
  const missing = names.find(name => !known.includes(name));
  if (missing !== undefined) {
    const hint = suggest(missing, known) ?? `there are ${known.join(', ')}`;
    throw new TektonError(`there is no notification "${missing}"`, {hint});
  }
  return names.length === 0 ? all : all.filter(({spec}) => names.includes(spec.name));
}
