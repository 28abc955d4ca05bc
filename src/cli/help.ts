/** Texts below the table of verbs in `tekton-ai --help`. */
export const exitCodesHelp = `
Exit codes:
  0    ok                          4    invalid input or usage
  1    failed                      5    conflict, stale plan, or a lock is busy
  2    changes (where asked for)   130  interrupted
  3    not ready in time
  diff: 0 same, 1 differs, above 1 error`;

export const environmentHelp = `
Environment variables:
  TEKTON_AI_HOME         state folder (default ~/.tekton/ai_registry)
  TEKTON_REGISTER_AI     false: nothing is to run
  TEKTON_AI_PROVIDER     provider of every specialist
  <COMPONENT>_AI_MODEL   model of one component's specialist, e.g. ATHENA_AI_MODEL
  TEKTON_AI_DEBUG        1: stack traces of internal errors
  NO_COLOR               any value: no colours
The second to the fourth are also read from .env.tekton beside the fleet file.`;

export const examplesHelp = `
Examples:
  tekton-ai up                        converge tekton-ai.yaml and keep it so
  tekton-ai get -w                    watch the specialists
  tekton-ai chat athena "who are you?"
  tekton-ai diff && echo in sync`;
