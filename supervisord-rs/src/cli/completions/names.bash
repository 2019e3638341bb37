
_supervisord_rs_workers() {
    GENERATED "$@"
    local current="${COMP_WORDS[COMP_CWORD]}" word value place=() takes_names= i
    [[ $current == -* ]] && return 0
    for (( i = 1; i < COMP_CWORD; i++ )); do
        word="${COMP_WORDS[i]}"
        case "$word" in
            -c|--config|--socket)
                # `--socket=x` is three words here.
                (( i++ ))
                [[ ${COMP_WORDS[i]} == "=" ]] && (( i++ ))
                (( i < COMP_CWORD )) || return 0
                value="${COMP_WORDS[i]}"
                place+=("$word" "${value/#\~\//$HOME/}")
                ;;
            --config=*|--socket=*) place+=("$word") ;;
            VERBS) takes_names=1 ;;
        esac
    done
    [[ -n $takes_names ]] || return 0
    COMPREPLY+=( $(compgen -W "$("${COMP_WORDS[0]}" "${place[@]}" __workers \
        2>/dev/null)" -- "$current") )
}
# A group ends with a colon, which is no end of a word here.
COMP_WORDBREAKS="${COMP_WORDBREAKS//:}"
complete -F _supervisord_rs_workers -o bashdefault -o default supervisord-rs
