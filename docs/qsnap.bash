# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion of qsnap for bash.

# Where a word is completed from: bash takes = and : for the ends of words, and --disk has both in it.
_qsnap_word ()
{
  local line=${COMP_LINE:0:COMP_POINT}
  printf '%s' "${line##*[[:space:]]}"
}

# What bash replaces is only what follows the last of those.
_qsnap_reply ()
{
  local word=$1 candidate prefix
  shift
  prefix=${word%"${word##*[=:]}"}
  for candidate; do
    [[ $candidate == "$word"* ]] && COMPREPLY+=("${candidate#"$prefix"}")
  done
}

_qsnap_files ()
{
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

# The values of an option; nothing for one whose value is anybody's. Fails for one that has none.
_qsnap_value ()
{
  local option=$1 value=$2
  case $option in
    --mode | --fallback)
      mapfile -t COMPREPLY < <(compgen -W 'instant live stopped disks-only' -- "$value") ;;
    --disk-mode)
      mapfile -t COMPREPLY < <(compgen -W 'overlay clone copy internal exclude auto' -- "$value") ;;
    --leave)
      mapfile -t COMPREPLY < <(compgen -W 'running paused quit' -- "$value") ;;
    --compression)
      mapfile -t COMPREPLY < <(compgen -W 'none zstd' -- "$value") ;;
    --method | -m)
      mapfile -t COMPREPLY < <(compgen -W 'auto map on-demand load' -- "$value") ;;
    --disk)
      _qsnap_disk ;;
    --overlay-directory | --directory | -d)
      _qsnap_files -d "$value" ;;
    --quiesce | --program)
      _qsnap_files -f "$value" ;;
    --name | --description | --metadata | --max-pause-ms | --max-stall-ms | --max-chain-length | --timeout-ms | --number | -n | --keep-*) ;;
    *) return 1 ;;
  esac
}

# DISK=MODE[:PROPERTY]…; which disks there are only QEMU knows.
_qsnap_disk ()
{
  local word disk before last
  word=$(_qsnap_word)
  word=${word#--disk=}
  word=${word#[\'\"]}
  [[ $word == *=* ]] || return 0
  disk=${word%%=*}
  if [[ $word != "$disk="*:* ]]; then
    _qsnap_reply "$word" "$disk"={overlay,clone,copy,internal,exclude,auto}
    return
  fi
  before=${word%:*} last=${word##*:}
  case $last in
    file=*) _qsnap_files -f "${last#file=}" ;;
    sync=*) _qsnap_reply "$word" "$before:sync="{full,top} ;;
    *)
      compopt -o nospace 2>/dev/null
      _qsnap_reply "$word" "$before:"{file=,reuse,sync=,target=} ;;
  esac
}

_qsnap ()
{
  local commands='check snapshot show list describe verify import export revert clone recover delete prune quit'
  local all='--json --quiet --help --version'
  local taking='--name --description --metadata --mode --fallback --disk-mode --disk --overlay-directory --leave --quiesce
    --compression --allow-managed --max-pause-ms --max-stall-ms --huge-pages --share-pages --max-chain-length --timeout-ms'
  local keeping='--keep-last --keep-hourly --keep-daily --keep-weekly --keep-monthly --keep-yearly --dry-run'
  local returning='--method --directory --program --paused --wait --verify'
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' options=$all i

  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    # What follows is QEMU's.
    [[ ${COMP_WORDS[i]} == -- ]] && { _qsnap_files -f "$current"; return; }
    [[ -z $command && " $commands " == *" ${COMP_WORDS[i]} "* ]] && command=${COMP_WORDS[i]}
  done

  # --option=value comes as three words, and a --disk as more.
  if [[ $(_qsnap_word) == --disk=* ]] || [[ $(_qsnap_before) == --disk ]]; then
    _qsnap_disk
    return
  fi
  if [[ $current == '=' ]]; then
    _qsnap_value "$before" '' && return
  elif [[ $before == '=' ]]; then
    _qsnap_value "${COMP_WORDS[COMP_CWORD - 2]}" "$current" && return
  else
    _qsnap_value "$before" "$current" && return
  fi

  case $command in
    check | snapshot) options+=" $taking" ;;
    prune) options+=" $keeping" ;;
    list) options+=' --orphans' ;;
    describe) options+=' --metadata' ;;
    revert) options+=" $returning" ;;
    clone) options+=" $returning --number" ;;
    '') options+=" $taking $returning $keeping --number --orphans" ;;
  esac

  # DRIVE=FILE
  if [[ $command == import && ($current == '=' || $before == '=') ]]; then
    _qsnap_files -f "${current#=}"
    return
  fi

  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  else
    _qsnap_files -f "$current"
  fi
}

# The word before the one that is completed, as the shell will see it.
_qsnap_before ()
{
  local line=${COMP_LINE:0:COMP_POINT}
  line=${line%"$(_qsnap_word)"}
  line=${line%"${line##*[![:space:]]}"}
  printf '%s' "${line##*[[:space:]]}"
}

complete -F _qsnap qsnap
