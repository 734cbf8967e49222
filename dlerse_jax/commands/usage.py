"""What each command takes, as `dlerse COMMAND --help` says it."""

USAGE = """usage: dlerse COMMAND ...

  train     trains one agent, or resumes its training, and evaluates it
  sweep     trains every point of a sweep file
  search    tries settings of a search file one after the other, with Optuna
  evaluate  evaluates finished runs under another protocol
  report    makes the page of a run or of a folder of runs
  recommend names items for one person, or for every row of a file
  chat      shows items one by one, and learns from the answers
  card      writes the model card of a finished run
  bench     measures how fast an agent and its environment are
  data      the numbers of a data set, or the download of a public one
  serve     a run as an HTTP service with a page, sessions and a log of answers
  events    that log in another program's format

`dlerse COMMAND --help` explains the flags of one.
A command that fails exits 2 with one line; --debug shows the traceback."""

_CONFIG = """  --config=FILE.py[:quick]   where settings start: one of experiments/
  --config.SECTION.KEY=VALUE changes one of them; dlerse_jax/defaults.py lists all"""
_WORKDIR = (
    """  --workdir=DIR              folder of the run; the same command resumes it"""
)
_QUIET = """  --quiet                    no progress on stderr"""
_PERSON = """  --user=ID                  of the data set; another id is somebody new
  --friends=ID,ID            users of the data set, in place of those it has
  --liked=ITEM,ITEM          answers given before, by the ids of items
  --disliked=ITEM,ITEM       the same
  --name-friends             in reasons; without it friends are counted at most
  --seed=0                   which of the run's seeds answers"""
_DEBUG = """  --debug                    the traceback of an error"""
_PROCESSES = """  --coordinator=HOST:PORT    of process 0, where several are one run
  --num-processes=N          how many there are; else from Slurm or Open MPI
  --process-id=I             which one this is, from 0 on"""

HELP = {
    "train": f"""usage: dlerse train --config=FILE.py --workdir=DIR [flags]

{_CONFIG}
{_WORKDIR}
{_QUIET}
{_PROCESSES}
{_DEBUG}

example: dlerse train --config=experiments/synthetic.py:quick --workdir=runs/first""",
    "sweep": f"""usage: dlerse sweep --sweep=FILE.py --workdir=DIR [flags]

  --sweep=FILE.py[:quick]    the points; it names the config that they start from
{_CONFIG}
{_WORKDIR}
  --list                     names the points, runs nothing
  --point=3                  that point alone
  --shard=1/4                the first of four parts, for four machines
  --dry-run                  counts what is left, runs nothing
{_QUIET}
{_PROCESSES}
{_DEBUG}

example: dlerse sweep --sweep=sweeps/alpha.py:quick --workdir=runs/alpha""",
    "search": f"""usage: dlerse search --search=FILE.py --workdir=DIR [flags]

  --search=FILE.py[:quick]   what a trial may change; it names the config to start from
{_CONFIG}
{_WORKDIR}
  --trials=20                in all, earlier ones included
{_QUIET}
{_DEBUG}

example: dlerse search --search=searches/learning.py:quick --workdir=runs/search""",
    "evaluate": f"""usage: dlerse evaluate DIR --config.evaluation.protocol=WORD [flags]

  DIR                        a finished run, or a folder of them
  --config.evaluation.KEY=VALUE
                             how it is evaluated instead; nothing is trained
{_PROCESSES}
{_DEBUG}

example: dlerse evaluate runs/first --config.evaluation.protocol=ranking""",
    "report": f"""usage: dlerse report DIR
       dlerse report --export=FILE.json --question=TEXT --command=TEXT RUNS ...
       dlerse report --results=FOLDER --pages=FOLDER

  DIR                        a run, or a folder of runs to compare: makes its page
  --export=FILE.json         writes what the runs measured, to be committed
  --question=TEXT            that they answer; without it the file's own stays
  --command=TEXT             that made them; without it the file's own stays
  --results=FOLDER           of exported files: their tables go
  --pages=FOLDER             where Markdown pages say <!-- table: FILE -->
{_DEBUG}

example: dlerse report runs/first""",
    "recommend": f"""usage: dlerse recommend RUN [flags]

  RUN                        a run directory, or what Trained.save wrote
{_PERSON}
  --k=10                     length of a list
  --exclude=ITEM,ITEM        not shown; answered items and past likes never are
  --only=ITEM,ITEM           nothing else is shown
  --batch=FILE.csv           a question each row: columns of these names, without --
  --explain                  a reason beside each item
  --json                     as JSON
  --csv                      as CSV, which is the form of --batch
{_DEBUG}

example: dlerse recommend runs/first --friends=12,40 --liked=7 --k=5""",
    "chat": f"""usage: dlerse chat RUN [flags]

  RUN                        a run directory, or what Trained.save wrote
{_PERSON}
{_DEBUG}

Each item is answered with y, n, skip, why, undo or quit.

example: dlerse chat runs/first --friends=12,40""",
    "card": f"""usage: dlerse card RUN

  RUN                        a finished run: its README.md is written
{_DEBUG}

example: dlerse card runs/first""",
    "bench": f"""usage: dlerse bench --config=FILE.py [flags]

{_CONFIG}
{_DEBUG}

example: dlerse bench --config=experiments/synthetic.py""",
    "data": f"""usage: dlerse data stats --config=FILE.py [--json]
       dlerse data fetch NAME

{_CONFIG}
  --json                     the numbers as JSON
  NAME                       of a public data set, as lastfm
{_DEBUG}

example: dlerse data stats --config=experiments/lastfm.py --json""",
    "serve": f"""usage: dlerse serve RUN [flags]
       dlerse serve --new-key=NAME[:admin] --keys=FILE

  RUN                        folder of a finished run
  --host=127.0.0.1           another address is refused without an API key
  --port=8000
  --workers=1                processes that share the port and --store
  --state=DIR                sessions and log; RUN/serving without it
  --store=ADDRESS            of sessions: sqlite:FILE, redis://HOST, postgresql://HOST/NAME
  --wait-for-disk            SQLite: what is acknowledged survives a power cut, too
  --cache=256                MiB of sessions' states that are kept in memory
  --session-days=30          that a session is kept after its last answer
  --event-days=90            that files of the log are kept
  --exploration=WORD         none, epsilon:0.1 or softmax:0.5; config.serve without it
  --exploration-seed=N       draws the same lists for the same requests in turn
  --candidates=20            best items that exploration chooses among
  --keys=FILE                of API keys; DLERSE_API_KEYS may hold its lines, too
  --new-key=NAME             adds a key to that file and prints it; admin may reload
  --rate=100                 requests a second for each key; 0: no limit
  --origins=URL,URL          of other sites whose pages may ask
  --hosts=NAME,NAME          names of this server that are answered to; any without it
  --watch=0                  seconds between looks for a new model in RUN; 0: never
  --seed=0                   which of the run's seeds
  --demo                     the page finds users by how their id begins
  --telemetry                spans to where the OTEL_ variables say
{_DEBUG}

example: dlerse serve runs/first --demo""",
    "events": f"""usage: dlerse events export FOLDER --format=WORD --output=FILE

  FOLDER                     of the log: RUN/serving/events
  --format=parquet           a row per item shown; vw: dsjson; obp: arrays, .npz
  --output=FILE
{_DEBUG}

example: dlerse events export runs/a/serving/events --format=vw --output=a.dsjson""",
}
