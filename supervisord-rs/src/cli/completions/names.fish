
function __supervisord_rs_workers
    set -l words (commandline -opc)
    set -l place
    set -l at 2
    while test $at -le (count $words)
        switch $words[$at]
            case -c --config --socket
                set -l value (math $at + 1)
                test $value -le (count $words); or return
                set -a place $words[$at] (string replace -r '^~/' $HOME/ -- $words[$value])
                set at $value
            case '--config=*' '--socket=*'
                set -a place $words[$at]
        end
        set at (math $at + 1)
    end
    $words[1] $place __workers 2>/dev/null
end
complete -c supervisord-rs -n "__fish_seen_subcommand_from VERBS" -f -a "(__supervisord_rs_workers)"
