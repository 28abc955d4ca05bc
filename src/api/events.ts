/** What may happen. The closed list of event reasons: docs/reference/conditions.md says what each tells. */

export const eventReasons = [
  'Launched',
  'Relaunched',
  'Adopted',
  'Reconfigured',
  'DriftHealed',
  'Drifted',
  'ToldToStop',
  'Restarted',
  'RolloutFailed',
  'Stopped',
  'Pruned',
  'DuplicateStopped',
  'BecameReady',
  'BecameNotReady',
  'FellBack',
  'ModelRecovered',
  'ModelMoved',
  'BudgetExceeded',
  'Exited',
  'ProbeFailed',
  'KillFailed',
  'CrashLoop',
  'PortMoved',
  'PortsExhausted',
  'PortTaken',
  'SecretMissing',
  'RegistryUnavailable',
  'SourceApplied',
  'SourceInvalid',
  'SourceUnavailable',
  'MassPruneHeld',
  'SourceRecovered',
  'ChangeHeld',
  'ChangeWithdrawn',
  'CanaryPassed',
  'CanaryFailed',
  'FleetHealthy',
  'RolledBack',
  'RollbackFailed',
  'NotHealthy',
  'HealthUndecided',
  'RevisionApplied',
  'RevisionReady',
  'FetchFailed',
  'ForcePushed',
  'VerificationFailed',
  'PolicyViolation',
  'Held',
  'WebhookUnavailable',
  'FileSetAside',
  'RegistryHealed',
  'NotificationFailed',
] as const;

/** About the state folder, or about telling itself: no fleet's notifications tell of them. */
const untold: readonly string[] = ['FileSetAside', 'RegistryHealed', 'NotificationFailed'];

/** Those that a fleet's `notifications` may name. */
export const notifiableReasons: readonly string[] = eventReasons.filter(reason => !untold.includes(reason));

export type EventReason = (typeof eventReasons)[number];
