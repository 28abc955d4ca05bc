/** Variables that a declared `env` may not set: they decide what a process is, not what it is told. */

interface Refusal {
  readonly variables: RegExp;
  /** Continues "… may not be set:". */
  readonly reason: string;
}

/** Refused from whomever: nobody needs them for a worker, and each makes it, or what it starts, run or obey another. */
const refused: readonly Refusal[] = [
  {variables: /^TEKTON_AI_/, reason: 'tekton-ai itself steers its workers with it'},
  {
    variables: /^NODE_(OPTIONS|PATH|CHANNEL_.*|REPL_.*|UNIQUE_ID|COMPILE_CACHE|ICU_DATA)$/,
    reason: 'Node loads code or data through it',
  },
  {variables: /^NODE_(V8_COVERAGE|REDIRECT_WARNINGS)$/, reason: 'Node writes files where it says'},
  {
    variables: /^(LD_.*|DYLD_.*|GCONV_PATH|LOCPATH|NLSPATH|GLIBC_TUNABLES)$/,
    reason: 'the loader of programs takes code or data from where it says',
  },
  {variables: /^OPENSSL_(CONF|MODULES|ENGINES)$/, reason: 'OpenSSL loads code through it'},
  {variables: /^(BASH_ENV|ENV|BASHOPTS|SHELLOPTS|PROMPT_COMMAND|PS4|IFS)$/, reason: 'shells run what it says'},
  {variables: /^BASH_FUNC_/, reason: 'shells take functions from it'},
  {
    variables:
      /^(PYTHON(STARTUP|PATH|HOME|INSPECT|WARNINGS|BREAKPOINT|USERBASE)|PERL5(OPT|LIB|DB)|PERLLIB|RUBY(OPT|LIB))$/,
    reason: 'interpreters load code through it',
  },
  {variables: /^(_JAVA_OPTIONS|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS)$/, reason: 'Java loads code through it'},
  {
    variables:
      /^GIT_(SSH.*|ASKPASS|EXTERNAL_DIFF|PAGER|EDITOR|SEQUENCE_EDITOR|PROXY_COMMAND|EXEC_PATH|TEMPLATE_DIR|CONFIG.*|TRACE.*|DIR|WORK_TREE)$/,
    reason: 'git runs what it says, or works elsewhere',
  },
  {variables: /^(SSH_ASKPASS.*|PAGER|EDITOR|VISUAL|BROWSER)$/, reason: 'other programs run what it says'},
];

/** Refused from repositories as well: operators have reasons to set these, a repository has none. */
const refusedFromRepositories: readonly Refusal[] = [
  {variables: /^NODE_(?!ENV$)/, reason: 'whom Node trusts and what it tells are for the operator to say'},
  {
    variables: /^(SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE)$/,
    reason: 'whose certificates are believed decides who reads the keys',
  },
  {variables: /^(HTTPS?|ALL|NO|FTP)_PROXY$/, reason: 'a proxy reads what passes through it'},
  {variables: /^(HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|RESOLV_.*)$/, reason: 'it decides whom a name means'},
  {variables: /^(PATH|SHELL)$/, reason: 'it decides which programs run'},
  {
    variables: /^(HOME|TMPDIR|TEMP|TMP|XDG_.*|USER|LOGNAME|SSH_AUTH_SOCK|GNUPGHOME|DOCKER_.*|KUBECONFIG|AWS_.*)$/,
    reason: "it decides whose files and rights are the worker's",
  },
];

/**
 * Why a worker's variable may not be set; undefined: it may. Names are compared whatever their case: some systems
 * don't tell them apart either.
 */
export function refusalOf(variable: string, from: 'file' | 'repository'): string | undefined {
  const name = variable.toUpperCase();
  const all = from === 'file' ? refused : [...refused, ...refusedFromRepositories];
  return all.find(({variables}) => variables.test(name))?.reason;
}
