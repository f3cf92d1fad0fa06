# A picture in characters: a line for each server, its value beside its name.
# Columns: label, value.  From outside: data, rows, wide and margin (characters),
# least and most value, log (1: a logarithmic axis, with a dot and no bar).
set terminal dumb noenhanced size wide, rows + 3
set encoding utf8
set border 2
unset xtics
set ytics scale 0
set yrange [rows - 0.5:-0.5]
set lmargin margin
set rmargin 1
unset key
if (log) {
    set logscale x
    set xrange [least / 2:most * 2]
    plot data using 2:0:ytic(1) with points pointtype 15
} else {
    set xrange [0:most]
    plot data using (0):0:2:(0):ytic(1) with vectors nohead linetype 2
}
