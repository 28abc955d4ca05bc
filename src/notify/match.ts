/** Which events a destination is told of. Pure. */
import {globMatches} from '../api/glob.js';
import type {NotificationFilter} from '../api/notifications.js';
import {specialistOf} from '../api/template.js';
import type {FleetEvent} from '../api/types.js';

/** Nobody is told that nobody could be told: two dead destinations would go on about each other for ever. */
const untold = 'NotificationFailed';

export function matches({reasons, types, specialists}: NotificationFilter, event: FleetEvent): boolean {
  if (event.reason === untold || !types.includes(event.type)) return false;
  if (reasons && !reasons.some(pattern => globMatches(pattern, event.reason))) return false;
  if (!specialists) return true;
  const name = specialistOf(event);
  return name !== undefined && specialists.some(pattern => globMatches(pattern, name));
}
