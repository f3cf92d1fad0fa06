# What all the scripts share: terminal, output, colours, a quiet frame.
# From outside: data, term, rows, heading, and out (not for a terminal).
if (!exists("data")) exit error "say -e \"data='FILE'\" (see plots/draw.py)"
if (!exists("term")) term = "svg"
if (!exists("heading")) heading = ""
blue = "#2f7fd6"; green = "#12936f"; red = "#d2455e"; grey = "#7d858c"
palette = "#a8761a #2f7fd6 #12936f #d2455e #8b62d0 #d97316 #7d858c #5b8c3a"
ink = "#1b1f23"
set encoding utf8
set datafile missing "NaN"
set border 3 linecolor rgb "#c9ced3"
set grid linecolor rgb "#e3e6e8" linetype 1
set tics nomirror textcolor rgb ink
set bars 0.6
if (term eq "svg") set terminal svg noenhanced size 640, 400 \
    font "DejaVu Sans,13" background "#ffffff"
if (term eq "png") set terminal pngcairo noenhanced size 960, 600 \
    font "DejaVu Sans,12" background "#ffffff"
if (exists("out")) set output out
