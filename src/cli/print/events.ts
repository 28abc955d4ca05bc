/** Events, one line each, in columns that fit a stream: nothing is known of the lines to come. */
import type {FleetEvent} from '../../api/types.js';
import type {Style} from './style.js';

/** "2026-01-05T10:00:00Z  Normal   Launched      athena-ai     launched on port 45000 (pid 123)" */
export function eventLine(event: FleetEvent, style: Style): string {
  const at = event.at.replace(/\.\d+Z$/, 'Z');
  const type = event.type.padEnd(7);
  const about = event.aiId ?? event.fleet ?? event.gitSource ?? '-';
  const kind = event.type === 'Warning' ? style.bad(type) : type;
  return `${style.dim(at)}  ${kind}  ${event.reason.padEnd(13)}  ${about.padEnd(18)}  ${event.message}`;
}
