
_supervisord_rs_workers() {
    local -a names place
    local word value takes_names
    integer at
    # The generated function changes the words, and offers commands and files for a name.
    for (( at = 2; at < CURRENT; at++ )); do
        word=$words[at]
        case $word in
            -c|--config|--socket)
                (( ++at < CURRENT )) || takes_names=
                value=${(Q)words[at]}
                place+=($word ${value/#\~\//$HOME/})
                ;;
            --config=*|--socket=*) place+=(${(Q)word}) ;;
            VERBS) takes_names=1 ;;
        esac
    done
    if [[ $PREFIX != -* && -n $takes_names ]]; then
        names=(${(f)"$(${(Q)words[1]} $place __workers 2>/dev/null)"})
        (( $#names )) && compadd -a names && return 0
    fi
    _GENERATED "$@"
}
(( $+functions[compdef] )) && compdef _supervisord_rs_workers supervisord-rs
